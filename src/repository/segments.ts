/** Of a volume that is read in one piece. */
export const segmentBytes = 1024 * 1024

/** Segments of a volume that are to be read, in shared memory. */
export interface SharedSegments {
  readonly count: number
  /** Float64: where each begins, at a chunk. */
  readonly offsets: SharedArrayBuffer
  /** Uint32. */
  readonly lengths: SharedArrayBuffer
  /** Int32: the next segment that nobody has taken; 1: stop. */
  readonly control: SharedArrayBuffer
  /** BigInt64: bytes that are done. */
  readonly done: SharedArrayBuffer
}

export const nextSegment = 0
export const stopFlag = 1

/** Parts of a volume that are to be read, collected before any is. */
export class Segments {
  readonly #offsets: number[] = []
  readonly #lengths: number[] = []
  #bytes = 0

  /** Bytes of all of them. */
  get bytes(): number {
    return this.#bytes
  }

  /** `offset` is that of a chunk; `segmentBytes` is a multiple of the chunk size. */
  add(offset: number, length: number): void {
    for (let at = 0; at < length; at += segmentBytes) {
      this.#offsets.push(offset + at)
      this.#lengths.push(Math.min(segmentBytes, length - at))
    }
    this.#bytes += length
  }

  share(): SharedSegments {
    const count = this.#offsets.length
    const offsets = new SharedArrayBuffer(count * Float64Array.BYTES_PER_ELEMENT)
    const lengths = new SharedArrayBuffer(count * Uint32Array.BYTES_PER_ELEMENT)
    new Float64Array(offsets).set(this.#offsets)
    new Uint32Array(lengths).set(this.#lengths)
    const control = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)
    const done = new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT)
    return { count, offsets, lengths, control, done }
  }
}
