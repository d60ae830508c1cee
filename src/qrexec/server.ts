import type { Duplex } from 'node:stream'
import { finished } from 'node:stream/promises'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { CodedError, reportOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { VmName } from '../base/names.ts'
import { readAll } from '../base/reader.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { encodeException, encodeStockException, okPrefix, stockExceptionType } from './admin-api.ts'
import type { Call } from './call.ts'
import { QrexecError } from './errors.ts'
import { descriptorBytesMax, parseDescriptor, type RequestedTarget } from './framing.ts'
import { readHeader } from './header.ts'

const headerMilliseconds = 5_000
const requestMilliseconds = 30_000
const answerMilliseconds = 30_000
const connectionsMaxDefault = 64
/** Of all connections, how many one VM may hold: none may use up what others are to be served with. */
const shareOfOneVm = 0.5

export interface IncomingCall {
  readonly service: string
  readonly argument: string
  /** The calling VM, as qrexec says; never what the caller says. */
  readonly source: VmName
  /** What the caller asked for; in dom0 only. */
  readonly requested?: RequestedTarget
  readonly stream: Duplex
}

/**
 * Serves one call. A rejection is logged by the server, and destroys the stream unless an answer is on its way; so a
 * handler rejects after having answered as far as it can.
 */
export type Handler = (incoming: IncomingCall) => Promise<void>

export interface CallContext {
  readonly source: VmName
  readonly argument: string
  readonly requested?: RequestedTarget
  /** Aborted when the caller is seen to have gone, if the call was set up with `abortOnDisconnect`. */
  readonly signal: AbortSignal
}

export interface RespondOptions {
  /** false by default: a caller that has lost patience cancels nothing. */
  readonly abortOnDisconnect?: boolean
  /** Errors in qubesd's class names, for `admin.*` calls that stock clients make. */
  readonly stockExceptions?: boolean
}

/** The serving half of a `Call`: reads the request to its end, answers OK with the result of `answer` or EXCEPTION. */
export function respond<Request, Response>(
  call: Call<Request, Response>,
  answer: (request: Request, context: CallContext) => Promise<Response>,
  options: RespondOptions = {},
): Handler {
  return async ({ stream, ...caller }) => {
    const gone = new AbortController()
    if (options.abortOnDisconnect)
      stream.once('close', () => gone.abort(new QrexecError('QREXEC_UNREACHABLE', 'the caller has gone')))
    try {
      const request = call.request.decode(await readRequest(stream, call.request.bytesMax))
      const response = await answer(request, { ...caller, signal: gone.signal })
      const content = call.response.encode(response)
      if (content.byteLength > call.response.bytesMax) {
        content.fill(0)
        throw new Error(`the answer to ${call.service} has ${content.byteLength} bytes, over its own limit`)
      }
      stream.write(okPrefix.slice())
      endWith(stream, content)
    } catch (error) {
      const report = reportOf(error)
      if (!stream.writableEnded)
        stream.end(
          options.stockExceptions
            ? encodeStockException(stockExceptionType(report.kind), report.message)
            : encodeException(report),
        )
      throw error
    }
  }
}

/** Ends with these bytes, and zeroes them once the connection has taken them or is gone: they may hold a secret. */
export function endWith(stream: Duplex, bytes: Uint8Array): void {
  stream.end(bytes, () => bytes.fill(0))
}

export async function readRequest(stream: Duplex, bytesMax: number): Promise<Untrusted<Uint8Array>> {
  using slow = deadline(requestMilliseconds, () => late('the whole request', requestMilliseconds))
  const cut = () => stream.destroy(slow.reason)
  slow.addEventListener('abort', cut, { once: true })
  try {
    return await readAll(stream, bytesMax)
  } finally {
    slow.removeEventListener('abort', cut)
  }
}

export interface ServerOptions {
  readonly log: Log
  readonly connectionsMax?: number
}

export interface Server {
  /** Takes a fresh qrexec socket-service connection. Never throws; whatever happens ends with the stream. */
  accept(stream: Duplex): void
}

/** Reads the service descriptor of each connection and hands it to the service's handler. */
export function createServer(handlers: Readonly<Record<string, Handler>>, options: ServerOptions): Server {
  const { log, connectionsMax = connectionsMaxDefault } = options
  const table = new Map(Object.entries(handlers))
  const connectionsOfOneMax = Math.max(1, Math.floor(connectionsMax * shareOfOneVm))
  const connectionsOf = new Map<VmName, number>()
  let connections = 0

  const serve = async (stream: Duplex): Promise<void> => {
    const incoming = await readDescriptor(stream)
    const { source } = incoming
    const held = connectionsOf.get(source) ?? 0
    if (held >= connectionsOfOneMax) {
      log.warn('too many connections of one VM', { source, connectionsOfOneMax })
      return
    }
    connectionsOf.set(source, held + 1)
    try {
      await handle(incoming)
    } finally {
      const left = (connectionsOf.get(source) ?? 1) - 1
      if (left > 0) connectionsOf.set(source, left)
      else connectionsOf.delete(source)
    }
  }

  const handle = async (incoming: IncomingCall): Promise<void> => {
    const { service, argument, source, stream } = incoming
    const handler = table.get(service)
    if (handler === undefined) {
      log.warn('no such service', { service, argument, source })
      return
    }
    try {
      await handler(incoming)
      log.info('call served', { service, argument, source })
    } catch (error) {
      const level = error instanceof CodedError ? 'warn' : 'error'
      log[level]('call failed', { service, argument, source, error })
    }
    if (stream.writableEnded) await sent(stream)
  }

  return {
    accept(stream) {
      // Errors of the connection reach whoever reads or writes; unheard ones must not end the process.
      stream.on('error', () => {})
      if (connections >= connectionsMax) {
        log.warn('too many connections', { connections, connectionsMax })
        stream.destroy()
        return
      }
      connections += 1
      serve(stream)
        .catch(error => {
          // Whoever only looks whether somebody listens says nothing and goes.
          if (!(error instanceof BaseError && error.code === 'STREAM_ENDED'))
            log.warn('connection refused', { error })
        })
        .finally(() => {
          connections -= 1
          stream.destroy()
        })
    },
  }
}

async function readDescriptor(stream: Duplex): Promise<IncomingCall> {
  const header = await readHeader(stream, { bytesMax: descriptorBytesMax, milliseconds: headerMilliseconds })
  return { ...parseDescriptor(header), stream }
}

/** Until the answer has left; a caller that does not take it is not waited for. */
async function sent(stream: Duplex): Promise<void> {
  using signal = deadline(answerMilliseconds, () => late('taking the answer', answerMilliseconds))
  await finished(stream, { readable: false, signal }).catch(() => {})
}

function late(what: string, milliseconds: Milliseconds): QrexecError {
  return new QrexecError('QREXEC_TIMEOUT', `${what} took longer than ${milliseconds} ms`)
}
