import type { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { Bytes } from '../../base/brand.ts'
import { LineSearch } from './line-search.ts'

export type Heard = 'word' | 'flood'

/** Listens to what a machine says, on all its outputs together, for words, and for no more than `bytesMax`. Keeps none of it. */
export class ConsoleWatch {
  /** Resolves when the first word was said, or more than may be; never rejects. */
  readonly over: Promise<Heard>
  readonly #words: readonly string[]
  readonly #searches: LineSearch[] = []
  readonly #ends: Promise<unknown>[] = []
  readonly #settle: (heard: Heard) => void
  readonly #bytesMax: Bytes
  #bytesLeft: Bytes

  constructor(words: readonly string[], bytesMax: Bytes) {
    const { promise, resolve } = Promise.withResolvers<Heard>()
    this.over = promise
    this.#settle = resolve
    this.#words = words
    this.#bytesMax = bytesMax
    this.#bytesLeft = bytesMax
  }

  /** Words are looked for in each output by itself. */
  listen(output: Readable): void {
    const search = new LineSearch(this.#words)
    this.#searches.push(search)
    output.on('data', (untrustedPart: Uint8Array) => {
      search.feed(untrustedPart.subarray(0, this.#bytesLeft))
      this.#bytesLeft -= untrustedPart.byteLength
      if (search.hasFound(0)) this.#settle('word')
      if (this.#bytesLeft >= 0) return
      this.#settle('flood')
      output.destroy()
    })
    this.#ends.push(finished(output, { writable: false }).catch(() => {}))
  }

  /** Whether the word at this index was said, on whichever output. */
  hasHeard(index: number): boolean {
    return this.#searches.some(search => search.hasFound(index))
  }

  /** Nothing was said at all. */
  get isSilent(): boolean {
    return this.#bytesLeft === this.#bytesMax
  }

  /** Resolves when all outputs have been read to their ends. */
  async ended(): Promise<void> {
    await Promise.all(this.#ends)
  }
}
