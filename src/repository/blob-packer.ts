import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { compress } from './compression.ts'
import { type BlobType, blobIdLength, type StoredObject } from './format.ts'
import { PackBuilder } from './pack.ts'

/*
 * From a plaintext to its place in a pack: zstd, sealed, behind the blobs before it. Runs on any thread.
 */

/** A pack that is full, and what an index says of it. */
export interface FinishedPack extends StoredObject {
  readonly type: BlobType
  readonly blobs: BlobRecords
}

export interface PackerOptions {
  readonly type: BlobType
  readonly key: RepositoryKey
  readonly entropy: Entropy
  /** Of zstd. */
  readonly level: number
}

export class BlobPacker {
  readonly #options: PackerOptions
  #builder: PackBuilder
  #records: BlobRecords

  /** `body` is used for the pack when it is large enough. */
  constructor(options: PackerOptions, body?: Uint8Array) {
    this.#options = options
    const { type, key, entropy } = options
    this.#builder = new PackBuilder(type, key, entropy, body)
    this.#records = new BlobRecords()
  }

  get isEmpty(): boolean {
    return this.#records.length === 0
  }

  /** true: the pack is full, and must be finished before more is added. */
  add(id: Uint8Array, plaintext: Uint8Array): boolean {
    const compressed = compress(plaintext, this.#options.level)
    const uncompressedLength = compressed === null ? 0 : plaintext.byteLength
    const { offset, length } = this.#builder.add(id, compressed ?? plaintext, uncompressedLength)
    if (compressed !== null) release(compressed)
    this.#records.push(id, offset, length, uncompressedLength)
    return this.#builder.full
  }

  /** Ends the pack. Nothing may be added afterwards. */
  finish(): FinishedPack {
    return { ...this.#builder.finish(), type: this.#options.type, blobs: this.#records }
  }
}

const recordBytes = blobIdLength + 3 * Uint32Array.BYTES_PER_ELEMENT
const recordsAtFirst = 128

/** Id, offset, sealed length and plain length of the blobs of one pack: 44 bytes a blob, ready to be moved to another thread. */
export class BlobRecords {
  #bytes: Buffer
  #length: number

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#length = bytes.byteLength / recordBytes
  }

  get length(): number {
    return this.#length
  }

  /** In a buffer of its own. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes.subarray(0, this.#length * recordBytes))
  }

  push(id: Uint8Array, offset: number, length: number, uncompressedLength: number): void {
    const at = this.#length * recordBytes
    if (at === this.#bytes.byteLength) {
      const wider = Buffer.alloc(Math.max(2 * this.#bytes.byteLength, recordsAtFirst * recordBytes))
      this.#bytes.copy(wider)
      this.#bytes = wider
    }
    this.#bytes.set(id, at)
    this.#bytes.writeUInt32LE(offset, at + blobIdLength)
    this.#bytes.writeUInt32LE(length, at + blobIdLength + 4)
    this.#bytes.writeUInt32LE(uncompressedLength, at + blobIdLength + 8)
    this.#length += 1
  }

  *[Symbol.iterator](): Iterator<{
    readonly id: Uint8Array
    readonly offset: number
    readonly length: number
    readonly uncompressedLength: number
  }> {
    for (let at = 0; at < this.#length * recordBytes; at += recordBytes)
      yield {
        id: this.#bytes.subarray(at, at + blobIdLength),
        offset: this.#bytes.readUInt32LE(at + blobIdLength),
        length: this.#bytes.readUInt32LE(at + blobIdLength + 4),
        uncompressedLength: this.#bytes.readUInt32LE(at + blobIdLength + 8),
      }
  }
}
