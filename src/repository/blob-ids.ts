import { toHex } from '../base/bytes.ts'
import { blobIdLength } from './format.ts'

const idsAtFirst = 256

/** An ordered list of blob ids in 32 bytes each: a file's content. As strings it would take four times the memory. */
export class BlobIds implements Iterable<Uint8Array> {
  #bytes = new Uint8Array(idsAtFirst * blobIdLength)
  #length = 0

  get length(): number {
    return this.#length
  }

  push(id: Uint8Array): void {
    const at = this.#length * blobIdLength
    if (at === this.#bytes.byteLength) {
      const wider = new Uint8Array(2 * this.#bytes.byteLength)
      wider.set(this.#bytes)
      this.#bytes = wider
    }
    this.#bytes.set(id, at)
    this.#length += 1
  }

  /** A view, not a copy. */
  at(index: number): Uint8Array {
    if (!(index >= 0 && index < this.#length)) throw new RangeError('no blob id at this index')
    return this.#bytes.subarray(index * blobIdLength, (index + 1) * blobIdLength)
  }

  hexAt(index: number): string {
    return toHex(this.at(index))
  }

  *[Symbol.iterator](): Iterator<Uint8Array> {
    for (let index = 0; index < this.#length; index++) yield this.at(index)
  }
}
