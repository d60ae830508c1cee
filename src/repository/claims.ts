import { blobIdLength } from './format.ts'

/*
 * Which new blobs some thread has taken upon itself: a hash table in shared memory, open-addressed by the first word of the
 * id, which is as good as random. A slot goes from 0 to the number of an entry by compare-and-exchange and never back, and
 * an entry is written before its slot is, so that nobody waits for anybody.
 */

export interface SharedClaims {
  readonly slots: SharedArrayBuffer
  readonly ids: SharedArrayBuffer
  readonly count: SharedArrayBuffer
}

export class Claims {
  readonly #shared: SharedClaims
  readonly #slots: Int32Array
  readonly #ids: Uint8Array
  readonly #words: Uint32Array
  readonly #count: Int32Array

  /** Takes part in what another thread's `share` gave. */
  constructor(shared: SharedClaims) {
    this.#shared = shared
    this.#slots = new Int32Array(shared.slots)
    this.#ids = new Uint8Array(shared.ids)
    this.#words = new Uint32Array(shared.ids)
    this.#count = new Int32Array(shared.count)
  }

  /** For at most `blobsMax` claims, tries that lose against another thread included. Memory that is not used costs nothing. */
  static of(blobsMax: number): Claims {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2 * blobsMax, 1024)))
    return new Claims({
      slots: new SharedArrayBuffer(slots * Int32Array.BYTES_PER_ELEMENT),
      ids: new SharedArrayBuffer(blobsMax * blobIdLength),
      count: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT),
    })
  }

  get share(): SharedClaims {
    return this.#shared
  }

  get blobsMax(): number {
    return this.#ids.byteLength / blobIdLength
  }

  /** Claims so far, lost tries included. */
  get count(): number {
    return Atomics.load(this.#count, 0)
  }

  /** true: the blob is the caller's to store, and nobody else's. */
  claim(id: Uint8Array): boolean {
    const words = wordsOf(id)
    let entry = 0
    for (let slot = this.#firstSlot(words[0] ?? 0); ; slot = (slot + 1) & (this.#slots.length - 1)) {
      const found = Atomics.load(this.#slots, slot)
      if (found !== 0) {
        if (this.#is(found - 1, words)) return false
        continue
      }
      if (entry === 0) entry = this.#write(id)
      const before = Atomics.compareExchange(this.#slots, slot, 0, entry)
      if (before === 0) return true
      if (this.#is(before - 1, words)) return false
    }
  }

  /** A table with room for more, with the same claims. No other thread may use this one meanwhile or afterwards. */
  grown(blobsMax: number): Claims {
    const larger = Claims.of(blobsMax)
    for (const found of this.#slots)
      if (found !== 0) larger.claim(this.#ids.subarray((found - 1) * blobIdLength, found * blobIdLength))
    return larger
  }

  /** The number of the entry, from 1. */
  #write(id: Uint8Array): number {
    const entry = Atomics.add(this.#count, 0, 1)
    if (entry >= this.blobsMax) throw new RangeError('more claims than the table was made for')
    this.#ids.set(id, entry * blobIdLength)
    return entry + 1
  }

  #is(entry: number, words: Uint32Array): boolean {
    const at = entry * words.length
    for (let word = 0; word < words.length; word++) if (this.#words[at + word] !== words[word]) return false
    return true
  }

  #firstSlot(word: number): number {
    return word & (this.#slots.length - 1)
  }
}

function wordsOf(id: Uint8Array): Uint32Array {
  const copy = new Uint8Array(blobIdLength)
  copy.set(id)
  return new Uint32Array(copy.buffer)
}
