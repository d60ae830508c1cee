import { toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { is, parseJson } from '../base/json.ts'
import { parseDigest } from '../base/names.ts'
import { RepositoryError } from './errors.ts'
import { chunkBytesFor, configBytesMax, formatVersion } from './format.ts'
import { degreeOf, isIrreducible, randomIrreducible } from './polynomial.ts'
import { knownFields, parseFormat } from './shape.ts'

/* The file `config`: sealed JSON, not compressed, without a hash for a name, never rewritten. */

export interface RepositoryConfig {
  readonly version: typeof formatVersion
  /** 64 hex digits, drawn at random. */
  readonly id: string
  readonly chunkerPolynomial: bigint
}

const idLength = 32
/** Polynomials are u64 in restic; its test for irreducibility is cheap up to there. */
const degreeMax = 63

export function createConfig(entropy: Entropy): RepositoryConfig {
  return {
    version: formatVersion,
    id: toHex(entropy.bytes(idLength)),
    chunkerPolynomial: randomIrreducible(entropy),
  }
}

export function encodeConfig(config: RepositoryConfig): Uint8Array {
  return utf8(
    JSON.stringify({
      version: config.version,
      id: config.id,
      chunker_polynomial: config.chunkerPolynomial.toString(16),
      // rustic cuts at fixed offsets too when it finds these two; restic passes over them.
      chunker: 'FixedSize',
      chunk_size: chunkBytesFor(0),
    }),
  )
}

const shape = knownFields('config', {
  version: is.literal(formatVersion),
  id: is.name(parseDigest),
  chunker_polynomial: is.string(16),
})

export function parseConfig(untrustedPlaintext: Uint8Array): RepositoryConfig {
  return parseFormat('the config', () => {
    const { version, id, chunker_polynomial } = shape(
      parseJson(untrustedPlaintext, { bytesMax: configBytesMax }),
    )
    return { version, id, chunkerPolynomial: parsePolynomial(chunker_polynomial) }
  })
}

function parsePolynomial(untrustedHex: string): bigint {
  if (/^[1-9a-f][0-9a-f]{0,15}$/.test(untrustedHex)) {
    const polynomial = BigInt(`0x${untrustedHex}`)
    if (degreeOf(polynomial) <= degreeMax && isIrreducible(polynomial)) return polynomial
  }
  throw new RepositoryError('REPOSITORY_FORMAT', 'the polynomial of the config is not irreducible')
}
