import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { BlobRecords } from './blob-records.ts'
import { compress } from './compression.ts'
import type { BlobType, StoredObject } from './format.ts'
import { PackBuilder } from './pack.ts'

/*
 * From a plaintext to its place in a pack: zstd, sealed, behind the blobs before it. Runs on any thread.
 */

/** A pack that is full, and what an index says of it. */
export interface FinishedPack extends StoredObject {
  readonly type: BlobType
  /** Of its blobs, as `BlobRecords` has them, with 0 for the number of the pack; in a buffer of their own. */
  readonly records: Uint8Array<ArrayBuffer>
}

export interface PackerOptions {
  readonly type: BlobType
  readonly key: RepositoryKey
  readonly entropy: Entropy
}

export class BlobPacker {
  readonly #options: PackerOptions
  readonly #builder: PackBuilder
  readonly #records = new BlobRecords()

  /** `body` is used for the pack when it is given. */
  constructor(options: PackerOptions, body?: Uint8Array) {
    this.#options = options
    const { type, key, entropy } = options
    this.#builder = new PackBuilder(type, key, entropy, body)
  }

  /** true: the pack is full, and must be finished before more is added. */
  add(id: Uint8Array, plaintext: Uint8Array): boolean {
    const compressed = compress(plaintext)
    const uncompressedLength = compressed === null ? 0 : plaintext.byteLength
    const { offset, length } = this.#builder.add(id, compressed ?? plaintext, uncompressedLength)
    if (compressed !== null) release(compressed)
    this.#records.push(id, 0, this.#options.type, offset, length, uncompressedLength)
    return this.#builder.full
  }

  /** Ends the pack. Nothing may be added afterwards. */
  finish(): FinishedPack {
    const records = Uint8Array.from(this.#records.bytes())
    return { ...this.#builder.finish(), type: this.#options.type, records }
  }
}
