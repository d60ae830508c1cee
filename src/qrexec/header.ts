import type { Duplex } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { Untrusted } from '../base/untrusted.ts'
import { QrexecError } from './errors.ts'

export interface HeaderLimits {
  readonly bytesMax: number
  readonly milliseconds: Milliseconds
}

/**
 * Takes the bytes up to the first NUL off a fresh stream and leaves all that follows in it, an end included. Throws
 * `STREAM_TOO_LONG`, `STREAM_ENDED` or `QREXEC_TIMEOUT`; the stream is then of no more use.
 *
 * The stream is read while paused: in flowing mode its end could pass by before what was read ahead is put back.
 */
export async function readHeader(stream: Duplex, limits: HeaderLimits): Promise<Untrusted<Uint8Array>> {
  const { bytesMax, milliseconds } = limits
  using slow = deadline(
    milliseconds,
    () => new QrexecError('QREXEC_TIMEOUT', `no whole header within ${milliseconds} ms`),
  )
  const parts: Buffer[] = []
  let length = 0
  for (;;) {
    const part = stream.read() as Buffer | null
    if (part === null) {
      await readable(stream, slow)
      continue
    }
    const end = part.indexOf(0)
    length += end < 0 ? part.byteLength : end
    if (length > bytesMax)
      throw new BaseError('STREAM_TOO_LONG', `no end of the header within ${bytesMax} bytes`)
    if (end < 0) {
      parts.push(part)
      continue
    }
    parts.push(part.subarray(0, end))
    if (end + 1 < part.byteLength) stream.unshift(part.subarray(end + 1))
    return new Untrusted(new Uint8Array(Buffer.concat(parts)))
  }
}

/** Until there is something to read; rejects when there will never be. */
function readable(stream: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => () => {
      stream.off('readable', onReadable).off('end', onEnd).off('close', onEnd).off('error', onEnd)
      signal.removeEventListener('abort', onLate)
      act()
    }
    const onReadable = settle(resolve)
    const onEnd = settle(() => reject(new BaseError('STREAM_ENDED', 'the connection ended in its header')))
    const onLate = settle(() => reject(signal.reason))
    if (stream.readableEnded || stream.destroyed) return onEnd()
    stream.on('readable', onReadable).on('end', onEnd).on('close', onEnd).on('error', onEnd)
    if (signal.aborted) onLate()
    else signal.addEventListener('abort', onLate)
  })
}
