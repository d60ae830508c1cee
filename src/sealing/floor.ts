import { utf8 } from '../base/bytes.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { parsingAs } from './errors.ts'
import { reportingIo } from './io.ts'

/*
 * The floor: the newest version this machine has had in force, kept outside the store so that an old copy of the
 * store is noticed. Whoever can put back the floor as well is not held by it, but by a counter in a TPM (`counter.ts`).
 */

const floorBytesMax = 4096

export interface Floor {
  readonly version: number
  /** Of the snapshot. */
  readonly digest: Digest
  readonly rootVersion: number
}

const shape = fields('floor', {
  v: is.literal(1),
  type: is.literal('floor'),
  version: is.integer(1),
  digest: is.name(parseDigest),
  rootVersion: is.integer(1),
})

function parseFloor(untrustedBytes: Uint8Array): Floor {
  return parsingAs('SEAL_FLOOR_INVALID', 'the floor', () => {
    const { version, digest, rootVersion } = shape(parseJson(untrustedBytes, { bytesMax: floorBytesMax }))
    return { version, digest, rootVersion }
  })
}

/** `null` before anything was in force. A file that is there and cannot be understood is an alarm, not a beginning. */
export async function readFloor(file: string): Promise<Floor | null> {
  const bytes = await reportingIo(() => readBounded(file, floorBytesMax))
  return bytes === null ? null : bytes.parse(parseFloor)
}

/** Durable when it resolves. */
export async function writeFloor(file: string, { version, digest, rootVersion }: Floor): Promise<void> {
  const text = JSON.stringify({ v: 1, type: 'floor', version, digest, rootVersion })
  await reportingIo(() => writeDurably(file, utf8(`${text}\n`), 0o600))
}
