import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { compress, decompress } from './compression.ts'
import { RepositoryError } from './errors.ts'
import type { StoredObject } from './format.ts'

/*
 * "Unpacked Data Format": a snapshot or index file is sealed(0x02 || zstd(JSON)), or, as older versions wrote it,
 * sealed(JSON). Sealing binds neither kind nor name, so what is opened here must still prove by its fields that it is
 * what was asked for: `parseSnapshot` and `parseIndex` do.
 */

const compressedMark = 2
const bareMarks = new Set(['{', '['].map(mark => mark.charCodeAt(0)))

export async function sealUnpacked(
  key: RepositoryKey,
  plaintext: Uint8Array,
  entropy: Entropy,
): Promise<StoredObject> {
  const compressed = compress(plaintext)
  const body = key.seal(
    compressed === null ? plaintext : Buffer.concat([Buffer.of(compressedMark), compressed]),
    entropy,
  )
  return { id: sha256Hex(body), bytes: body.byteLength, body }
}

/** The JSON of a sealed object. Throws `MAC_WRONG` before anything is parsed. */
export async function openUnpacked(
  key: RepositoryKey,
  untrustedBody: Uint8Array,
  bytesMax: number,
): Promise<Uint8Array> {
  const plaintext = key.open(untrustedBody)
  const mark = plaintext[0] ?? 0
  if (bareMarks.has(mark)) {
    if (plaintext.byteLength <= bytesMax) return plaintext
    throw new RepositoryError(
      'REPOSITORY_LIMIT',
      `a sealed file of ${plaintext.byteLength} bytes; at most ${bytesMax} are allowed`,
    )
  }
  if (mark === compressedMark) {
    const unfolded = await decompress(plaintext.subarray(1), bytesMax)
    release(plaintext)
    return unfolded
  }
  throw new RepositoryError('REPOSITORY_FORMAT', `a sealed file begins with byte ${mark}; expected 2 or JSON`)
}
