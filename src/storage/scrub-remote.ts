import type { Duplex } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline } from '../base/environment.ts'
import { StreamReader } from '../base/reader.ts'
import { silenceMillisecondsMax } from './connection.ts'
import { StorageError } from './errors.ts'
import { onAbort } from './on-abort.ts'
import { parseScrubLine, type ScrubProgress, type ScrubReport, scrubLineBytesMax } from './scrub-lines.ts'
import { broken } from './wire.ts'

/** A storage that talks for longer only wants to be listened to. */
const scrubMillisecondsMax: Milliseconds = 7 * 24 * 3_600_000
/** Between two lines: who sends more of them waits. */
const lineMilliseconds: Milliseconds = 100
const newline = 0x0a

/**
 * The client's half of `strongroom.Scrub`. `open` gives the stream, which this ends; its signal must destroy the stream.
 * All that comes back is the storage's word. Throws the storage's error, `STORAGE_UNAVAILABLE`, `STORAGE_PROTOCOL`.
 */
export async function scrubOver(
  open: (signal: AbortSignal) => Promise<Duplex>,
  clock: Clock,
  onProgress: (progress: ScrubProgress) => void,
  signal: AbortSignal,
): Promise<ScrubReport> {
  const end = clock.monotonic() + scrubMillisecondsMax
  const ended = new AbortController()
  const silence = new Silence(() => ended.abort())
  try {
    const stream = await open(AbortSignal.any([signal, ended.signal]))
    stream.on('error', () => {})
    onAbort(ended.signal, () => stream.destroy())
    // It may have been given up while it was opened, by somebody who did not look at the signal.
    if (ended.signal.aborted) stream.destroy()
    const reader = new StreamReader(stream)
    for (;;) {
      const line = parseScrubLine(await reader.until(newline, scrubLineBytesMax))
      silence.broken()
      if ('report' in line) return line.report
      if ('error' in line) throw line.error
      onProgress(line.progress)
      if (clock.monotonic() > end) throw unavailable('the scrub does not come to an end')
      await clock.sleep(lineMilliseconds, signal)
    }
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof StorageError) throw error
    if (error instanceof BaseError && error.code === 'STREAM_TOO_LONG') throw broken('a line without an end')
    if (silence.tooLong) throw unavailable(`the storage said nothing for ${silenceMillisecondsMax} ms`)
    throw new StorageError(
      'STORAGE_UNAVAILABLE',
      'the storage could not be reached, or ended its scrub without a report',
      {
        cause: error,
        retry: true,
      },
    )
  } finally {
    silence.end()
    ended.abort()
  }
}

/** One timer for all lines: a silence is noticed after its maximum, or at the latest after twice that. */
class Silence {
  readonly #whenTooLong: () => void
  #heard = true
  #stop = () => {}
  tooLong = false

  constructor(whenTooLong: () => void) {
    this.#whenTooLong = whenTooLong
    this.#watch()
  }

  broken(): void {
    this.#heard = true
  }

  end(): void {
    this.#stop()
  }

  #watch(): void {
    if (this.#heard) {
      this.#heard = false
      const late = deadline(silenceMillisecondsMax, () => new Error('silence'))
      this.#stop = onAbort(late, () => this.#watch())
      return
    }
    this.tooLong = true
    this.#whenTooLong()
  }
}

/** It would be the same the next time. */
function unavailable(message: string): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', message)
}
