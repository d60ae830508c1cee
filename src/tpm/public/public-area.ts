import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { view } from '../../base/bytes.ts'
import { TpmError } from '../errors.ts'
import { algorithm, attribute, curveP256, limits } from './constants.ts'
import { digestOf, nameOf } from './hash.ts'
import { joined, u16, u32 } from './marshal.ts'
import { TpmReader } from './reader.ts'

/*
 * TPMT_PUBLIC (part 2, 12.2.4): the public half of an object, whose hash is its Name. Read are P-256 and RSA keys named by
 * SHA-256, which attestation and endorsement keys are.
 */

export const coordinateLength = 32
const rsaModulusMax = 512
const rsaExponentDefault = 65537

export type PublicKeyMaterial =
  | { readonly kind: 'p256'; readonly x: Uint8Array; readonly y: Uint8Array }
  | { readonly kind: 'rsa'; readonly bits: number }

export interface PublicArea {
  /** As the TPM wrote it. */
  readonly bytes: Uint8Array
  readonly name: Uint8Array
  /** TPMA_OBJECT. */
  readonly attributes: number
  /** Bits of the AES-CFB key of a storage or endorsement key; 0 for one that has none. */
  readonly aesBits: number
  /** Whether it signs with ECDSA over SHA-256 and nothing else. */
  readonly isEcdsaSha256: boolean
  readonly material: PublicKeyMaterial
  readonly key: KeyObject
}

/** Throws `TPM_MALFORMED`, or `TPM_KEY_INVALID` for kinds that are not read. */
export function parsePublicArea(untrustedBytes: Uint8Array): PublicArea {
  const reader = new TpmReader(untrustedBytes, 'a public key of a TPM')
  const type = reader.u16()
  if (type !== algorithm.ecc && type !== algorithm.rsa)
    throw invalid(`it is of kind 0x${type.toString(16)}; expected RSA or elliptic curve`)
  const nameAlgorithm = reader.u16()
  if (nameAlgorithm !== algorithm.sha256)
    throw invalid(`its name is made with 0x${nameAlgorithm.toString(16)}; expected SHA-256`)
  const attributes = reader.u32()
  reader.sized(limits.digest)
  const aesBits = readSymmetric(reader)
  const isEcdsaSha256 = readScheme(reader)
  const { material, key } = type === algorithm.ecc ? readPoint(reader) : readModulus(reader)
  reader.end()
  const bytes = new Uint8Array(untrustedBytes)
  return { bytes, name: nameOf(bytes), attributes, aesBits, isEcdsaSha256, material, key }
}

function readSymmetric(reader: TpmReader): number {
  const symmetric = reader.u16()
  if (symmetric === algorithm.none) return 0
  const bits = reader.u16()
  const mode = reader.u16()
  if (symmetric !== algorithm.aes || mode !== algorithm.cfb || (bits !== 128 && bits !== 256))
    throw invalid('its symmetric cipher is not AES-CFB of 128 or 256 bits')
  return bits
}

function readScheme(reader: TpmReader): boolean {
  const scheme = reader.u16()
  if (scheme === algorithm.none) return false
  const hash = reader.u16()
  return scheme === algorithm.ecdsa && hash === algorithm.sha256
}

function readPoint(reader: TpmReader): { material: PublicKeyMaterial; key: KeyObject } {
  const curve = reader.u16()
  if (curve !== curveP256) throw invalid(`its curve is 0x${curve.toString(16)}; expected P-256`)
  const kdf = reader.u16()
  if (kdf !== algorithm.none) throw invalid('it names a key derivation')
  const x = padded(reader.sized(coordinateLength))
  const y = padded(reader.sized(coordinateLength))
  return { material: { kind: 'p256', x, y }, key: p256Key(x, y) }
}

function readModulus(reader: TpmReader): { material: PublicKeyMaterial; key: KeyObject } {
  const bits = reader.u16()
  const exponent = reader.u32() || rsaExponentDefault
  const modulus = reader.sized(rsaModulusMax)
  if (bits < 2048 || modulus.byteLength * 8 !== bits)
    throw invalid(
      `it is an RSA key of ${modulus.byteLength * 8} bits that says ${bits}; expected 2048 or more`,
    )
  const e = u32(exponent)
  const significant = e.subarray(e.findIndex(byte => byte !== 0))
  const jwk = {
    kty: 'RSA',
    n: view(modulus).toString('base64url'),
    e: view(significant).toString('base64url'),
  }
  return { material: { kind: 'rsa', bits }, key: importKey(jwk) }
}

/** A coordinate at its full length: TPMs may leave leading zeros out. */
export function padded(bytes: Uint8Array): Uint8Array {
  return joined(new Uint8Array(coordinateLength - bytes.byteLength), bytes)
}

function p256Key(x: Uint8Array, y: Uint8Array): KeyObject {
  return importKey({
    kty: 'EC',
    crv: 'P-256',
    x: view(x).toString('base64url'),
    y: view(y).toString('base64url'),
  })
}

function importKey(key: JsonWebKey): KeyObject {
  try {
    return createPublicKey({ key, format: 'jwk' })
  } catch (cause) {
    throw new TpmError('TPM_KEY_INVALID', 'a public key of a TPM is none, e.g. no point of its curve', {
      cause,
    })
  }
}

function invalid(found: string): TpmError {
  return new TpmError('TPM_KEY_INVALID', `a public key of a TPM: ${found}`)
}

const bornInTpm = attribute.fixedTpm | attribute.fixedParent | attribute.sensitiveDataOrigin

/**
 * `null` for a key whose signatures mean that a TPM made what they sign: born in it, bound to it, restricted, and for
 * signing only. Else what it lacks.
 */
export function whyNotAttestationKey({ attributes, isEcdsaSha256, material }: PublicArea): string | null {
  const wanted = bornInTpm | attribute.restricted | attribute.sign
  if ((attributes & wanted) !== wanted)
    return 'it is not bound to its TPM and restricted to what the TPM made'
  if ((attributes & attribute.decrypt) !== 0) return 'it also decrypts'
  if (material.kind !== 'p256' || !isEcdsaSha256) return 'it does not sign with ECDSA P-256 and SHA-256'
  return null
}

/** `null` for a key to which a challenge can be made that only its TPM answers. */
export function whyNotEndorsementKey({ attributes, aesBits }: PublicArea): string | null {
  const wanted = bornInTpm | attribute.restricted | attribute.decrypt
  if ((attributes & wanted) !== wanted)
    return 'it is not bound to its TPM and restricted to what the TPM made'
  if ((attributes & attribute.sign) !== 0) return 'it also signs'
  if (aesBits === 0) return 'it names no cipher'
  return null
}

/** The Qualified Name (part 1, 16.2): where in the TPM a key hangs. `parents` are the names from the primary key down. */
export function qualifiedNameOf(
  name: Uint8Array,
  root: number,
  parents: readonly Uint8Array[] = [],
): Uint8Array {
  let qualified = u32(root)
  for (const one of [...parents, name]) qualified = joined(u16(algorithm.sha256), digestOf(qualified, one))
  return qualified
}
