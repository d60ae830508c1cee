import { toHex } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { zeroBlobBytes } from './format.ts'

/**
 * The blobs of zeros that a volume may have: restic's, and those for the remainder of a run. They are known by their ids, so
 * that zeros are neither fetched nor written.
 */
export class ZeroBlobs {
  readonly #lengths = new Map<number, { readonly id: string; readonly length: number }>()

  constructor(volumeBytes: number, chunkBytes: number) {
    const zeros = new Uint8Array(zeroBlobBytes)
    const tail = volumeBytes % chunkBytes
    for (let whole = 0; whole <= zeroBlobBytes; whole += chunkBytes)
      for (const length of [whole, whole + tail])
        if (length > 0 && length <= zeroBlobBytes) this.#add(sha256(zeros.subarray(0, length)), length)
    this.#add(sha256(zeros), zeroBlobBytes)
  }

  /** How many zeros a blob has; `null`: it is another. */
  lengthOf(id: Uint8Array): number | null {
    const found = this.#lengths.get(firstWord(id))
    return found !== undefined && found.id === toHex(id) ? found.length : null
  }

  #add(id: Uint8Array, length: number): void {
    this.#lengths.set(firstWord(id), { id: toHex(id), length })
  }
}

/** A cheap key, so that not every id of a large volume becomes a string. */
function firstWord(id: Uint8Array): number {
  return new DataView(id.buffer, id.byteOffset).getUint32(0)
}
