import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { errnoOf } from './errors.ts'
import { pageBytesMax, Stage, stageBytes } from './page-aligned.ts'

/*
 * Files written past the page cache: a fresh page of it costs the kernel more than the disk takes to store what is in it, and
 * what a restore writes nobody reads soon.
 */

/**
 * An existing file or device, written by this thread until it is closed, and by others elsewhere in it. What is not aligned,
 * and everything where the file system does not offer it, goes through the page cache as usual. Throws Node's errors.
 */
export class DirectFile implements Disposable {
  readonly #path: string
  readonly #staged = new Stage()
  #direct: number | null
  #cached: number | null = null
  /** Of the file, where the bytes on the stage belong. */
  #start = 0
  #length = 0

  constructor(path: string) {
    this.#path = path
    this.#direct = openDirect(path)
  }

  /** Bytes that follow one another in the file leave together; all have left after `flush`. They are copied. */
  write(bytes: Uint8Array, offset: number): void {
    for (let at = 0; at < bytes.byteLength; ) {
      const isNext = offset + at === this.#start + this.#length && this.#length < stageBytes
      if (!isNext) {
        this.flush()
        this.#start = offset + at
      }
      const part = bytes.subarray(at, at + stageBytes - this.#length)
      this.#staged.bytes.set(part, this.#length)
      this.#length += part.byteLength
      at += part.byteLength
    }
  }

  flush(): void {
    const length = this.#length
    this.#length = 0
    if (length > 0 && !this.#writeDirectly(length)) this.#writeCached(0, length)
  }

  [Symbol.dispose](): void {
    this.#staged[Symbol.dispose]()
    for (const file of [this.#direct, this.#cached]) if (file !== null) closeSync(file)
  }

  #writeDirectly(length: number): boolean {
    // Whole pages of any machine, so that none has bytes that went past the cache beside others that did not.
    if (this.#direct === null || this.#start % pageBytesMax !== 0 || length % pageBytesMax !== 0) return false
    let written: number
    try {
      written = writeSync(this.#direct, this.#staged.bytes, 0, length, this.#start)
    } catch (error) {
      if (errnoOf(error) !== 'EINVAL') throw error
      closeSync(this.#direct)
      this.#direct = null
      return false
    }
    if (written < length) this.#writeCached(written, length)
    return true
  }

  /** A disk that fills up, or a signal, ends a write early: the rest follows, or fails with the reason. */
  #writeCached(from: number, to: number): void {
    this.#cached ??= openSync(this.#path, writeFlags)
    for (let at = from; at < to; )
      at += writeSync(this.#cached, this.#staged.bytes, at, to - at, this.#start + at)
  }
}

const writeFlags = constants.O_WRONLY | constants.O_NOFOLLOW

function openDirect(path: string): number | null {
  try {
    return openSync(path, writeFlags | constants.O_DIRECT)
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return null
    throw error
  }
}
