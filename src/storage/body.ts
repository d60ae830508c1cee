import { sha256Hex } from '../crypto/digest.ts'
import { StorageError } from './errors.ts'
import { idOf } from './layout.ts'
import { type ByteRange, type ObjectName, objectBytesMax, type RemovalGrant } from './object-store.ts'

/** What every sink checks before it keeps an object: its size, and that its name is SHA-256 of the body. */
export function checkBody(name: ObjectName, body: Uint8Array): void {
  if (body.byteLength > objectBytesMax)
    throw new StorageError(
      'STORAGE_RANGE',
      `'${name}' has ${body.byteLength} bytes; at most ${objectBytesMax} are allowed`,
    )
  const id = idOf(name)
  if (id === null) return
  const digest = sha256Hex(body)
  if (digest !== id)
    throw new StorageError('STORAGE_HASH', `the SHA-256 of the body of '${name}' is ${digest}`)
}

/** The range of a body of `bytes` bytes that was asked for. */
export function rangeWithin(name: ObjectName, range: ByteRange | 'whole', bytes: number): ByteRange {
  if (bytes > objectBytesMax)
    throw new StorageError(
      'STORAGE_RANGE',
      `'${name}' has ${bytes} bytes; no object has more than ${objectBytesMax}`,
    )
  if (range === 'whole') return { offset: 0, length: bytes }
  const { offset, length } = range
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(length)
  if (!whole || offset < 0 || length < 0 || offset + length > bytes)
    throw new StorageError(
      'STORAGE_RANGE',
      `'${name}': ${length} bytes at offset ${offset} do not lie within ${bytes} bytes`,
    )
  return range
}

/** What a prune may want to be gone. Without its key file or config a repository could not be opened any more. */
const removableKinds = ['snapshots', 'index', 'data', 'locks']

/** A grant is for one object; a store that only appends gives up nothing but locks. */
export function checkRemoval(name: ObjectName, grant: RemovalGrant, appendOnly: boolean): void {
  if (grant.name !== name)
    throw new StorageError('STORAGE_APPEND_ONLY', `the grant to remove '${grant.name}' is not for '${name}'`)
  if (!Number.isSafeInteger(grant.entry) || grant.entry < 0)
    throw new StorageError('STORAGE_APPEND_ONLY', `the grant to remove '${name}' names no ledger entry`)
  if (!removableKinds.some(kind => name.startsWith(`${kind}/`)))
    throw new StorageError('STORAGE_APPEND_ONLY', `'${name}' is never removed`)
  if (appendOnly && !name.startsWith('locks/'))
    throw new StorageError('STORAGE_APPEND_ONLY', `'${name}' is not removed: this storage only appends`)
}
