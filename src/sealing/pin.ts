import { utf8 } from '../base/bytes.ts'
import { readBounded } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { parsingAs, SealError } from './errors.ts'
import { reportingIo } from './io.ts'

/*
 * The pin: which root this machine trusts to begin with. Written when the machine is provisioned and never changed by
 * the product afterwards; later roots are reached by the chain.
 */

const pinBytesMax = 4096

export interface RootPin {
  readonly version: number
  /** SHA-256 of the root's payload. */
  readonly digest: Digest
}

const shape = fields('pin', {
  v: is.literal(1),
  type: is.literal('pin'),
  root: fields('root', { version: is.integer(1), digest: is.name(parseDigest) }),
})

function parsePin(untrustedBytes: Uint8Array): RootPin {
  return parsingAs(
    'SEAL_PIN_INVALID',
    'the pin',
    () => shape(parseJson(untrustedBytes, { bytesMax: pinBytesMax })).root,
  )
}

export function encodePin(pin: RootPin): Uint8Array {
  return utf8(`${JSON.stringify({ v: 1, type: 'pin', root: pin })}\n`)
}

export async function hasPin(file: string): Promise<boolean> {
  return (await reportingIo(() => readBounded(file, pinBytesMax))) !== null
}

export async function readPin(file: string): Promise<RootPin> {
  const bytes = await reportingIo(() => readBounded(file, pinBytesMax))
  if (bytes === null) throw new SealError('SEAL_PIN_INVALID', `no pin at ${file}`)
  return bytes.parse(parsePin)
}
