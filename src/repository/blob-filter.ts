/*
 * A split block Bloom filter (Apache Parquet's): a blob belongs to one block of 32 bytes by the first word of its id, and the second
 * word sets one bit in each of the block's 8 words. With 12 bits a blob about one of 200 unknown ones is taken for known, and ids
 * that were chosen to meet in a block spoil that block only.
 */

const wordsPerBlock = 8
const blockBytes = 4 * wordsPerBlock
const bitsPerBlob = 12
/** Parquet's: odd, and otherwise arbitrary. */
const salts = [
  0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31,
] as const

export function filterBytesFor(blobs: number): number {
  return Math.ceil((blobs * bitsPerBlob) / (8 * blockBytes)) * blockBytes
}

export class BlobFilter {
  readonly #words: Uint32Array

  /** Over memory of `filterBytesFor` bytes, which may be shared with other threads. */
  constructor(words: Uint32Array) {
    this.#words = words
  }

  add(high: number, low: number): void {
    const at = this.#blockOf(high)
    for (let word = 0; word < wordsPerBlock; word++)
      this.#words[at + word] = (this.#words[at + word] ?? 0) | bitOf(word, low)
  }

  /** `false`: it was never added. */
  mayHave(high: number, low: number): boolean {
    const at = this.#blockOf(high)
    for (let word = 0; word < wordsPerBlock; word++)
      if (((this.#words[at + word] ?? 0) & bitOf(word, low)) === 0) return false
    return true
  }

  #blockOf(high: number): number {
    const blocks = this.#words.length / wordsPerBlock
    return Math.floor((high * blocks) / 2 ** 32) * wordsPerBlock
  }
}

function bitOf(word: number, low: number): number {
  return 1 << (Math.imul(low, salts[word] ?? 1) >>> 27)
}
