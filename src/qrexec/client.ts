import type { Duplex } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import type { VmName } from '../base/names.ts'
import { readAll } from '../base/reader.ts'
import { Untrusted } from '../base/untrusted.ts'
import { exceptionBytesMax, okPrefix, parseAnswer } from './admin-api.ts'
import type { Call, Transport } from './call.ts'
import { QrexecError } from './errors.ts'

/**
 * Makes one call and waits for its answer. Throws what `transport.open` throws; `RemoteError` with the far side's own
 * code; `QREXEC_TIMEOUT`; `QREXEC_ANSWER_INVALID`; or the signal's reason. Giving up does not undo what the far side does.
 */
export async function callOver<Request, Response>(
  transport: Transport,
  call: Call<Request, Response>,
  target: VmName,
  argument: string,
  request: Request,
  signal: AbortSignal,
  timeoutMilliseconds: Milliseconds,
): Promise<Response> {
  const body = call.request.encode(request)
  if (body.byteLength > call.request.bytesMax)
    throw new QrexecError(
      'QREXEC_REQUEST_INVALID',
      `a request of ${body.byteLength} bytes; ${call.service} takes at most ${call.request.bytesMax}`,
    )
  const timeout = () =>
    new QrexecError(
      'QREXEC_TIMEOUT',
      `no answer of ${target} to ${call.service} within ${timeoutMilliseconds} ms`,
    )
  using stop = deadline(timeoutMilliseconds, timeout, signal)
  stop.throwIfAborted()
  const stream = await transport.open(call.service, argument, target, stop)
  try {
    const answer = await exchange(stream, body, Math.max(call.response.bytesMax, exceptionBytesMax), stop)
    return call.response.decode(new Untrusted(parseAnswer(answer)))
  } catch (error) {
    if (stop.aborted) throw stop.reason
    throw explain(error, call.service, target)
  } finally {
    stream.destroy()
  }
}

/** Sends `body`, ends the sending half, and reads the answer to its end. */
async function exchange(
  stream: Duplex,
  body: Uint8Array,
  contentBytesMax: number,
  stop: AbortSignal,
): Promise<Untrusted<Uint8Array>> {
  const cut = () => stream.destroy(stop.reason)
  stop.addEventListener('abort', cut, { once: true })
  // `readAll` rejects with it; this keeps one that comes later from ending the process.
  stream.on('error', () => {})
  try {
    // It may hold a secret.
    stream.end(body, () => body.fill(0))
    return await readAll(stream, contentBytesMax + okPrefix.byteLength)
  } finally {
    stop.removeEventListener('abort', cut)
  }
}

function explain(error: unknown, service: string, target: VmName): unknown {
  if (error instanceof BaseError && error.code === 'STREAM_TOO_LONG')
    return new QrexecError('QREXEC_ANSWER_INVALID', `the answer to ${service} is too long`, { cause: error })
  if (error instanceof CodedError) return error
  return new QrexecError('QREXEC_UNREACHABLE', `the connection to ${service} in ${target} broke`, {
    cause: error,
    retry: true,
  })
}
