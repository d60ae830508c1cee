import type { Digest } from '../base/names.ts'
import { RepositoryError } from './errors.ts'
import { blobIdLength } from './format.ts'
import { VolumeDigest } from './volume-digest.ts'

/*
 * The content of one volume: a mark and an id for every chunk, in memory that all threads share. While it is backed up, a
 * thread writes the chunks of the segments that it has taken and no others; whoever reads waits until all are done. Pages
 * of chunks that are zero are never touched, so a sparse volume costs a byte a chunk.
 */

const zeroMark = 0
const dataMark = 1

export interface SharedContent {
  readonly volumeBytes: number
  readonly chunkBytes: number
  readonly marks: SharedArrayBuffer
  readonly ids: SharedArrayBuffer
}

export class ContentMap {
  readonly volumeBytes: number
  readonly chunkBytes: number
  readonly length: number
  readonly #marks: Uint8Array
  readonly #ids: Uint8Array
  readonly #shared: SharedContent

  /** Takes part in what another thread's `share` gave. */
  constructor(shared: SharedContent) {
    this.#shared = shared
    this.volumeBytes = shared.volumeBytes
    this.chunkBytes = shared.chunkBytes
    this.#marks = new Uint8Array(shared.marks)
    this.#ids = new Uint8Array(shared.ids)
    this.length = this.#marks.byteLength
  }

  /** All zeros. */
  static of(volumeBytes: number, chunkBytes: number): ContentMap {
    const chunks = Math.ceil(volumeBytes / chunkBytes)
    const marks = new SharedArrayBuffer(chunks)
    const ids = new SharedArrayBuffer(chunks * blobIdLength)
    return new ContentMap({ volumeBytes, chunkBytes, marks, ids })
  }

  get share(): SharedContent {
    return this.#shared
  }

  /** Bytes of a chunk; only the last may have fewer than `chunkBytes`. */
  bytesOf(chunk: number): number {
    return Math.min(this.chunkBytes, this.volumeBytes - chunk * this.chunkBytes)
  }

  set(chunk: number, id: Uint8Array): void {
    this.#ids.set(id, chunk * blobIdLength)
    this.#marks[chunk] = dataMark
  }

  /** Makes a chunk zeros. */
  clear(chunk: number): void {
    this.#marks[chunk] = zeroMark
  }

  /** A view; `null`: zeros. */
  get(chunk: number): Uint8Array | null {
    if (this.#marks[chunk] === zeroMark) return null
    return this.#ids.subarray(chunk * blobIdLength, (chunk + 1) * blobIdLength)
  }

  /** Takes the chunks from `from` to before `to` as another map has them. */
  copy(other: ContentMap, from: number, to: number): void {
    this.#marks.set(other.#marks.subarray(from, to), from)
    this.#ids.set(other.#ids.subarray(from * blobIdLength, to * blobIdLength), from * blobIdLength)
  }

  equals(other: ContentMap, chunk: number): boolean {
    const [one, two] = [this.get(chunk), other.get(chunk)]
    return one === null || two === null ? one === two : Buffer.compare(one, two) === 0
  }

  /**
   * A mark for each chunk from `from` to before `to`, then the ids of those that are not zeros. `unpack` and
   * `unpackContent` read it back.
   */
  packed(from = 0, to = this.length): Uint8Array {
    const marks = this.#marks.subarray(from, to)
    const ids = marks.reduce((sum, mark) => sum + mark, 0)
    const packed = new Uint8Array(marks.byteLength + ids * blobIdLength)
    packed.set(marks)
    for (let chunk = from, at = marks.byteLength; chunk < to; chunk++) {
      const id = this.get(chunk)
      if (id === null) continue
      packed.set(id, at)
      at += blobIdLength
    }
    return packed
  }

  /** Takes what `packed` gave for the same chunks. Throws `REPOSITORY_FORMAT` for anything else. */
  unpack(packed: Uint8Array, from: number, to: number): void {
    let at = to - from
    for (let chunk = from; chunk < to; chunk++) {
      const mark = packed[chunk - from]
      if (mark === zeroMark) continue
      if (mark !== dataMark || at + blobIdLength > packed.byteLength) throw malformed()
      this.set(chunk, packed.subarray(at, at + blobIdLength))
      at += blobIdLength
    }
    if (at !== packed.byteLength) throw malformed()
  }

  digest(): Digest {
    const digest = new VolumeDigest(this.volumeBytes, this.chunkBytes)
    for (let chunk = 0; chunk < this.length; chunk++) digest.add(this.get(chunk))
    return digest.finish()
  }
}

/** Throws `REPOSITORY_FORMAT` for what is not the content of a volume of this shape. */
export function unpackContent(packed: Uint8Array, volumeBytes: number, chunkBytes: number): ContentMap {
  const content = ContentMap.of(volumeBytes, chunkBytes)
  content.unpack(packed, 0, content.length)
  return content
}

function malformed(): RepositoryError {
  return new RepositoryError(
    'REPOSITORY_FORMAT',
    'the record of what a volume holds has another length or other marks',
  )
}
