import type { PageReader } from './page-reader.ts'

/*
 * Sorted keys that lead to numbered entries: the first 8 bytes of an id as two words, `high` and `low`, and the number of the entry.
 * Whoever finds a key looks at the entry for the rest of the id. The first key of each page is in memory, so that finding one takes
 * one read, however the ids are distributed; ids with the same first 8 bytes, of which SHA-256 makes none, are looked at one by one.
 */

export const wordsPerKey = 3
export const keyBytes = 4 * wordsPerKey
/** Small: most of the cost of a page is decrypting what is not looked at. */
export const keysPerPage = 84
const wordsPerSample = 2

export function samplesBytesFor(keys: number): number {
  return 4 * wordsPerSample * Math.ceil(keys / keysPerPage)
}

export interface KeyStart {
  readonly high: number
  readonly low: number
}

/** Of the id at `at`. Keys sort as ids do. */
export function keyStartOf(bytes: Uint8Array, at = 0): KeyStart {
  return { high: word(bytes, at), low: word(bytes, at + 4) }
}

function word(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16)
  return (high | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
}

/** A view where that is possible, else a copy: words begin at multiples of 4. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  const { buffer, byteOffset, byteLength } = bytes
  return byteOffset % 4 === 0
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : wordsOf(Uint8Array.from(bytes))
}

export class SortedKeys {
  readonly #keys: PageReader
  readonly #samples: Uint32Array

  constructor(keys: PageReader, samples: Uint32Array) {
    this.#keys = keys
    this.#samples = samples
  }

  /** The lowest number with this start that `matches`, or -1. */
  find({ high, low }: KeyStart, matches: (number: number) => boolean): number {
    for (let key = this.#firstFrom(high, low); key < this.#keys.entries; key++) {
      const { bytes, first } = this.#keys.pageOf(key)
      const at = (key - first) * keyBytes
      if (bytes.readUInt32LE(at) !== high || bytes.readUInt32LE(at + 4) !== low) return -1
      const number = bytes.readUInt32LE(at + 8)
      if (matches(number)) return number
    }
    return -1
  }

  /** The first key that does not begin below `high`, `low`. */
  #firstFrom(high: number, low: number): number {
    const samples = this.#samples
    const page = partition(samples.length / wordsPerSample, at =>
      isBelow(samples[wordsPerSample * at] ?? 0, samples[wordsPerSample * at + 1] ?? 0, high, low),
    )
    if (page === 0) return 0
    const { bytes, first } = this.#keys.pageOf((page - 1) * keysPerPage)
    return (
      first +
      partition(bytes.byteLength / keyBytes, at =>
        isBelow(bytes.readUInt32LE(at * keyBytes), bytes.readUInt32LE(at * keyBytes + 4), high, low),
      )
    )
  }
}

/** How many of the first of `count` are below. */
function partition(count: number, isBelowAt: (at: number) => boolean): number {
  let from = 0
  let to = count
  while (from < to) {
    const middle = (from + to) >>> 1
    if (isBelowAt(middle)) from = middle + 1
    else to = middle
  }
  return from
}

function isBelow(high: number, low: number, otherHigh: number, otherLow: number): boolean {
  return high < otherHigh || (high === otherHigh && low < otherLow)
}
