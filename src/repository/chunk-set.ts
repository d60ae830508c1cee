import { type ByteRange, endOf } from '../base/byte-range.ts'

/** Some of the chunks of a volume: a bit for each, the first chunk in the highest bit of the first byte. */
export class ChunkSet implements Iterable<number> {
  /** Chunks of the volume. */
  readonly length: number
  readonly #bits: Uint8Array
  #size = 0

  /** None. */
  constructor(length: number) {
    this.length = length
    this.#bits = new Uint8Array(Math.ceil(length / 8))
  }

  static all(length: number): ChunkSet {
    return ChunkSet.within({ offset: 0, length }, length, 1)
  }

  /** Those that have a byte in the range. */
  static within(range: ByteRange, length: number, chunkBytes: number): ChunkSet {
    const set = new ChunkSet(length)
    const end = Math.min(length, Math.ceil(endOf(range) / chunkBytes))
    for (let chunk = Math.floor(range.offset / chunkBytes); chunk < end; chunk++) set.add(chunk)
    return set
  }

  /** What `packed` gave; `null` for what it can never have given for so many chunks. */
  static unpack(packed: Uint8Array, length: number): ChunkSet | null {
    const set = new ChunkSet(length)
    if (packed.byteLength !== set.#bits.byteLength) return null
    for (let chunk = 0; chunk < 8 * packed.byteLength; chunk++) {
      if (((packed[chunk >> 3] ?? 0) & (0x80 >> (chunk & 7))) === 0) continue
      if (chunk >= length) return null
      set.add(chunk)
    }
    return set
  }

  get size(): number {
    return this.#size
  }

  has(chunk: number): boolean {
    return ((this.#bits[chunk >> 3] ?? 0) & (0x80 >> (chunk & 7))) !== 0
  }

  add(chunk: number): void {
    if (!(chunk >= 0 && chunk < this.length)) throw new RangeError('no chunk of this volume')
    if (this.has(chunk)) return
    this.#bits[chunk >> 3] = (this.#bits[chunk >> 3] ?? 0) | (0x80 >> (chunk & 7))
    this.#size += 1
  }

  delete(chunk: number): void {
    if (!this.has(chunk)) return
    this.#bits[chunk >> 3] = (this.#bits[chunk >> 3] ?? 0) & ~(0x80 >> (chunk & 7))
    this.#size -= 1
  }

  /** Ascending. */
  *[Symbol.iterator](): Iterator<number> {
    for (let at = 0; at < this.#bits.byteLength; at++) {
      if (this.#bits[at] === 0) continue
      for (let chunk = 8 * at; chunk < 8 * at + 8; chunk++) if (this.has(chunk)) yield chunk
    }
  }

  packed(): Uint8Array {
    return this.#bits
  }
}
