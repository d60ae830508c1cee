import { equalConstantTime, toHex } from '../base/bytes.ts'
import { release } from '../base/memory.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { sha256 } from '../crypto/digest.ts'
import { decompressExactly } from './compression.ts'
import { RepositoryError } from './errors.ts'
import type { BlobType } from './format.ts'
import { checkBlobLengths } from './pack.ts'

/**
 * The plaintext of a sealed blob, which is what its id says. `uncompressedLength` is 0 for a blob that is stored as it
 * is. Throws `MAC_WRONG`, `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`, `BLOB_WRONG`.
 */
export function openBlob(
  key: RepositoryKey,
  type: BlobType,
  id: Uint8Array,
  uncompressedLength: number,
  untrustedSealed: Uint8Array,
): Uint8Array {
  checkBlobLengths(type, untrustedSealed.byteLength, uncompressedLength, uncompressedLength > 0)
  const payload = key.open(untrustedSealed)
  const plaintext = uncompressedLength > 0 ? decompressExactly(payload, uncompressedLength) : payload
  if (plaintext !== payload) release(payload)
  if (!equalConstantTime(sha256(plaintext), id))
    throw new RepositoryError('BLOB_WRONG', `${type} blob ${toHex(id).slice(0, 16)}… holds something else`)
  return plaintext
}
