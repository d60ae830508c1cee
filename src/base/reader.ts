import type { Duplex, Readable } from 'node:stream'
import { BaseError } from './base-errors.ts'
import { Untrusted } from './untrusted.ts'

/**
 * Reads a stream to its end; more than `bytesMax` destroys it and throws `STREAM_TOO_LONG`. What the stream gave is zeroed:
 * its parts must be its own, as those of a socket are.
 */
export async function readAll(stream: Readable, bytesMax: number): Promise<Untrusted<Uint8Array>> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of stream as AsyncIterable<Buffer>) {
    length += part.byteLength
    if (length > bytesMax) {
      stream.destroy()
      throw new BaseError('STREAM_TOO_LONG', `more than ${bytesMax} bytes were sent`)
    }
    parts.push(part)
  }
  // An own buffer: what is read here may hold a secret, which must not sit in a pool shared with other slices.
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
    // Nobody else would ever clear it.
    part.fill(0)
  }
  return new Untrusted(whole)
}

/**
 * Pulls exact lengths and bounded lines out of a stream, for protocols with frames. Not for two readers at once.
 * `exactly` and `until` throw `STREAM_ENDED` when the stream ends first.
 */
export class StreamReader {
  readonly #stream: Readable | Duplex
  #pending: Buffer[] = []
  #length = 0
  #ended = false
  #failure: Error | null = null
  #wake: (() => void) | null = null

  constructor(stream: Readable | Duplex) {
    this.#stream = stream
    stream.on('data', (part: Buffer) => {
      this.#pending.push(part)
      this.#length += part.byteLength
      if (this.#length > pendingBytesMax) stream.pause()
      this.#wake?.()
    })
    const end = () => {
      this.#ended = true
      this.#wake?.()
    }
    stream.once('end', end)
    stream.once('close', () => {
      // Closed without an end: the other side vanished, which is not the same as having finished.
      if (!this.#ended)
        this.#failure ??= new BaseError('STREAM_ENDED', 'the connection was closed before its end')
      end()
    })
    stream.once('error', error => {
      this.#failure = error
      end()
    })
  }

  /** Exactly `length` bytes in a buffer of their own. */
  async exactly(length: number): Promise<Uint8Array> {
    await this.#fill(() => this.#length >= length, length)
    return this.#take(length)
  }

  /** Exactly `length` bytes, or `null` when the stream ended cleanly before the first of them. */
  async exactlyOrEnd(length: number): Promise<Uint8Array | null> {
    if (length > 0 && this.#length === 0) {
      await this.#more()
      if (this.#length === 0 && this.#ended && this.#failure === null) return null
    }
    return this.exactly(length)
  }

  /** Bytes up to and without `delimiter`, at most `bytesMax`. */
  async until(delimiter: number, bytesMax: number): Promise<Uint8Array> {
    let found = -1
    await this.#fill(() => {
      let base = 0
      for (const part of this.#pending) {
        const at = part.indexOf(delimiter)
        if (at >= 0) {
          found = base + at
          return true
        }
        base += part.byteLength
      }
      if (base > bytesMax)
        throw new BaseError('STREAM_TOO_LONG', `no end of the header within ${bytesMax} bytes`)
      return false
    }, 1)
    if (found > bytesMax)
      throw new BaseError('STREAM_TOO_LONG', `no end of the header within ${bytesMax} bytes`)
    const bytes = this.#take(found)
    this.#take(1)
    return bytes
  }

  /** Gives back what was read ahead and lets go of the stream, for whoever reads on. */
  release(): void {
    this.#stream.removeAllListeners('data')
    this.#stream.pause()
    const rest = Buffer.concat(this.#pending)
    this.#pending = []
    this.#length = 0
    if (rest.byteLength > 0) this.#stream.unshift(rest)
  }

  async #fill(enough: () => boolean, wanted: number): Promise<void> {
    while (!enough()) {
      if (this.#failure !== null)
        throw new BaseError('STREAM_ENDED', 'the connection broke', { cause: this.#failure })
      if (this.#ended)
        throw new BaseError(
          'STREAM_ENDED',
          `the stream ended; at least ${wanted - this.#length} more bytes were expected`,
        )
      await this.#more()
    }
  }

  async #more(): Promise<void> {
    if (this.#ended) return
    await new Promise<void>(resolve => {
      this.#wake = resolve
      this.#stream.resume()
    })
    this.#wake = null
  }

  #take(length: number): Uint8Array {
    const whole = new Uint8Array(length)
    let at = 0
    while (at < length) {
      const part = this.#pending[0] as Buffer
      const used = Math.min(part.byteLength, length - at)
      whole.set(part.subarray(0, used), at)
      at += used
      if (used === part.byteLength) this.#pending.shift()
      else this.#pending[0] = part.subarray(used)
    }
    this.#length -= length
    return whole
  }
}

const pendingBytesMax = 1024 * 1024
