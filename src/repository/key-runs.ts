import { release } from '../base/memory.ts'
import type { EncryptedWriter, StoredSection } from './encrypted-file.ts'
import { keyBytes, keysPerPage, wordsOf, wordsPerKey } from './sorted-keys.ts'

/* Sorting more keys than fit into memory: runs of them are sorted and put into a file, then merged. */

/** Large enough that the memory of a block can be given back at once: see `release`. */
const keysPerBlock = 66 * keysPerPage
const blockBytes = keysPerBlock * keyBytes

/** Collects the keys of entries whose numbers follow one another. */
export class KeySorter {
  readonly #file: EncryptedWriter
  readonly #high: Uint32Array
  readonly #low: Uint32Array
  /** For sorting: `high` and the ordinal of a key in one number, and the same memory in halves. */
  readonly #pairs: BigUint64Array
  readonly #halves: Uint32Array
  readonly #runs: StoredSection[]
  #first: number
  #count = 0

  /** Uses 16 bytes a key of `keysAtOnce`. `runs` are of entries before the entry `first`. */
  constructor(file: EncryptedWriter, keysAtOnce: number, first: number, runs: readonly StoredSection[]) {
    this.#file = file
    this.#high = new Uint32Array(keysAtOnce)
    this.#low = new Uint32Array(keysAtOnce)
    this.#pairs = new BigUint64Array(keysAtOnce)
    this.#halves = new Uint32Array(this.#pairs.buffer)
    this.#first = first
    this.#runs = [...runs]
  }

  /** The key of the next entry; `spill` is due when this answers `true`. */
  add(high: number, low: number): boolean {
    this.#high[this.#count] = high
    this.#low[this.#count] = low
    this.#count += 1
    return this.#count === this.#high.length
  }

  /** Puts what was collected into the file, as one run. */
  async spill(): Promise<void> {
    const count = this.#count
    this.#sort()
    const offset = this.#file.position
    const block = new Uint32Array(keysPerBlock * wordsPerKey)
    for (let at = 0; at < count; at += keysPerBlock) {
      const words = Math.min(keysPerBlock, count - at) * wordsPerKey
      for (let to = 0; to < words; to += wordsPerKey) {
        const ordinal = this.#halves[2 * (at + to / wordsPerKey)] ?? 0
        block[to] = this.#high[ordinal] ?? 0
        block[to + 1] = this.#low[ordinal] ?? 0
        block[to + 2] = this.#first + ordinal
      }
      await this.#file.append(new Uint8Array(block.buffer, 0, words * Uint32Array.BYTES_PER_ELEMENT))
    }
    await this.#file.align()
    if (count > 0) this.#runs.push(this.#file.section({ offset, bytes: count * keyBytes }))
    this.#first += count
    this.#count = 0
  }

  /** All keys in order, in blocks that are good until the next one. Nothing can be added any more. */
  async *merged(): AsyncGenerator<Uint32Array> {
    await this.spill()
    yield* mergeRuns(this.#runs)
  }

  /** Puts the ordinals in the order of their keys. The native sort of 64-bit numbers leaves little to do. */
  #sort(): void {
    const count = this.#count
    const halves = this.#halves
    for (let ordinal = 0; ordinal < count; ordinal++) {
      halves[2 * ordinal] = ordinal
      halves[2 * ordinal + 1] = this.#high[ordinal] ?? 0
    }
    this.#pairs.subarray(0, count).sort()
    for (let from = 0; from < count; ) {
      let to = from + 1
      while (to < count && halves[2 * to + 1] === halves[2 * from + 1]) to += 1
      if (to - from > 1) this.#sortByLow(from, to)
      from = to
    }
  }

  /** Of pairs that have the same `high`. */
  #sortByLow(from: number, to: number): void {
    const low = this.#low
    const alike = Uint32Array.from({ length: to - from }, (_, at) => this.#halves[2 * (from + at)] ?? 0)
    alike.sort((a, b) => (low[a] ?? 0) - (low[b] ?? 0) || a - b)
    for (const [at, ordinal] of alike.entries()) this.#halves[2 * (from + at)] = ordinal
  }
}

async function* mergeRuns(runs: readonly StoredSection[]): AsyncGenerator<Uint32Array> {
  const heap: Cursor[] = []
  for (const run of runs) {
    const cursor = new Cursor(run)
    if (await cursor.next()) {
      heap.push(cursor)
      for (let at = heap.length - 1; at > 0; ) at = liftOver(heap, at)
    }
  }
  const block = new Uint32Array(keysPerBlock * wordsPerKey)
  let filled = 0
  for (let top = heap[0]; top !== undefined; top = heap[0]) {
    block[filled] = top.high
    block[filled + 1] = top.low
    block[filled + 2] = top.number
    filled += wordsPerKey
    if (!top.step() && !(await top.next())) {
      const last = heap.pop()
      if (last !== undefined && heap.length > 0) heap[0] = last
    }
    sink(heap)
    if (filled === block.length) {
      yield block
      filled = 0
    }
  }
  if (filled > 0) yield block.subarray(0, filled)
}

/** One run, of which a block is in memory. */
class Cursor {
  readonly #run: StoredSection
  #bytes: Uint8Array = new Uint8Array(0)
  #block: Uint32Array = new Uint32Array(0)
  #at = 0
  #read = 0
  high = 0
  low = 0
  number = 0

  constructor(run: StoredSection) {
    this.#run = run
  }

  /** To the next key in memory; `false`: there is none. */
  step(): boolean {
    if (this.#at === this.#block.length) return false
    this.high = this.#block[this.#at] ?? 0
    this.low = this.#block[this.#at + 1] ?? 0
    this.number = this.#block[this.#at + 2] ?? 0
    this.#at += wordsPerKey
    return true
  }

  /** As `step`, of a block that is read first. */
  async next(): Promise<boolean> {
    const bytes = Math.min(blockBytes, this.#run.bytes - this.#read)
    release(this.#bytes)
    if (bytes === 0) return false
    this.#bytes = await this.#run.read(this.#read, bytes)
    this.#block = wordsOf(this.#bytes)
    this.#at = 0
    this.#read += bytes
    return this.step()
  }

  isAfter(other: Cursor): boolean {
    if (this.high !== other.high) return this.high > other.high
    return this.low !== other.low ? this.low > other.low : this.number > other.number
  }
}

/** Exchanges the cursor at `at` with the one above it when that is after it. Answers where to go on: 0 ends it. */
function liftOver(heap: Cursor[], at: number): number {
  const above = (at - 1) >>> 1
  const [lower, upper] = [heap[at], heap[above]]
  if (lower === undefined || upper === undefined || !upper.isAfter(lower)) return 0
  heap[at] = upper
  heap[above] = lower
  return above
}

/** Moves the first cursor down to its place. */
function sink(heap: Cursor[]): void {
  for (let at = 0; ; ) {
    const here = heap[at]
    const left = heap[2 * at + 1]
    const right = heap[2 * at + 2]
    const down = right !== undefined && left?.isAfter(right) ? right : left
    if (here === undefined || down === undefined || !here.isAfter(down)) return
    heap[at] = down
    at = 2 * at + (down === left ? 1 : 2)
    heap[at] = here
  }
}
