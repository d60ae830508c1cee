import type { Digest } from '../base/names.ts'
import { Sha256, sha256 } from '../crypto/digest.ts'

/**
 * The digest of a volume: SHA-256 over the SHA-256 of every chunk, in order; a chunk has `chunkBytes`, the last one what is
 * left. A chunk's hash is its blob id, so that a backup which reads only what changed knows the digest of the whole, and
 * a restore may arrive in any order. Stock tools compute it too:
 *
 *   split -b CHUNKBYTES --filter='openssl dgst -sha256 -binary' VOLUME | sha256sum
 */
export class VolumeDigest {
  readonly #state = new Sha256()
  readonly #zeros: ZeroChunks
  #bytesLeft: number

  constructor(volumeBytes: number, chunkBytes: number) {
    this.#bytesLeft = volumeBytes
    this.#zeros = new ZeroChunks(chunkBytes)
  }

  /** The next chunk, by its hash; `null`: zeros. */
  add(hash: Uint8Array | null): void {
    const length = Math.min(this.#zeros.chunkBytes, this.#bytesLeft)
    if (length === 0) throw new RangeError('a chunk beyond the end of its volume')
    this.#bytesLeft -= length
    this.#state.update(hash ?? this.#zeros.hashOf(length))
  }

  /** Once, after the last chunk. */
  finish(): Digest {
    if (this.#bytesLeft > 0) throw new RangeError('a volume without its last chunks')
    return this.#state.finish()
  }
}

/** Hashes of zeros, of a whole chunk and of what is left at the end. */
class ZeroChunks {
  readonly chunkBytes: number
  readonly #hashes = new Map<number, Uint8Array>()

  constructor(chunkBytes: number) {
    this.chunkBytes = chunkBytes
  }

  hashOf(length: number): Uint8Array {
    let hash = this.#hashes.get(length)
    if (hash === undefined) {
      hash = sha256(new Uint8Array(length))
      this.#hashes.set(length, hash)
    }
    return hash
  }
}
