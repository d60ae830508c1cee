import type { Duplex } from 'node:stream'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { StreamReader } from '../base/reader.ts'
import { Untrusted } from '../base/untrusted.ts'
import { checkRemoval, rangeWithin } from './body.ts'
import { type Answer, type Request, StorageConnection } from './connection.ts'
import { StorageError } from './errors.ts'
import {
  type ByteRange,
  type ObjectHead,
  type ObjectKind,
  type ObjectName,
  objectBytesMax,
  type PrunableObjectStore,
  type RemovalGrant,
} from './object-store.ts'
import { onAbort } from './on-abort.ts'
import { asProtocolFault, broken, errorBytesMax, itemsBytesMax, type Status } from './wire.ts'
import { encodeNumber, encodeRange, parseError, parseItems, parseNumber } from './wire-payloads.ts'

const capabilityLength = 32
const grantMilliseconds: Milliseconds = 30_000
const noPayload = new Uint8Array(0)

export interface RemoteStore extends PrunableObjectStore, AsyncDisposable {}

/**
 * The client's half of `strongroom.Storage` and `strongroom.StorageRead`, over an open stream, which it owns. Many
 * requests may be under way; an abort ends one of them and leaves the stream. When the stream breaks, all fail with
 * `STORAGE_UNAVAILABLE`, `retry` set.
 */
export function connectStorage(stream: Duplex): RemoteStore {
  return new StoreOverConnection(new StorageConnection(stream))
}

/** Permission for others to read one repository. Disposing ends it, and every connection that was made with it. */
export interface ReadingGrant extends AsyncDisposable {
  /** 32 hex digits: the argument of `strongroom.StorageRead`. */
  readonly capability: string
}

/** The client's half of `strongroom.StorageGrant`. */
export async function grantReading(stream: Duplex): Promise<ReadingGrant> {
  stream.on('error', () => {})
  const closed = new Promise<void>(resolve => stream.once('close', resolve))
  const late = () => new StorageError('STORAGE_UNAVAILABLE', `no capability within ${grantMilliseconds} ms`)
  const slow = deadline(grantMilliseconds, late)
  const stopListening = onAbort(slow, () => stream.destroy(slow.reason))
  try {
    const line = await new StreamReader(stream).until(0x0a, capabilityLength)
    const capability = Buffer.from(line).toString('latin1')
    if (!/^[0-9a-f]{32}$/.test(capability))
      throw broken('the storage answered with something that is no capability')
    return {
      capability,
      async [Symbol.asyncDispose]() {
        stream.destroy()
        await closed
      },
    }
  } catch (cause) {
    stream.destroy()
    if (cause instanceof StorageError) throw cause
    throw new StorageError('STORAGE_UNAVAILABLE', 'the storage granted no capability', { cause, retry: true })
  } finally {
    stopListening()
  }
}

class StoreOverConnection implements RemoteStore {
  readonly #connection: StorageConnection

  constructor(connection: StorageConnection) {
    this.#connection = connection
  }

  async put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    if (body.byteLength > objectBytesMax)
      throw new StorageError(
        'STORAGE_RANGE',
        `'${name}' has ${body.byteLength} bytes; at most ${objectBytesMax} are allowed`,
      )
    // After an abort the caller may reuse `body` while it is still being sent. The sink's hash finds that, except here.
    const payload = name === 'config' ? new Uint8Array(body) : body
    await this.#ask({ operation: 'put', name, payload, answerBytesMax: 0 }, ['done'], signal)
  }

  async get(
    name: ObjectName,
    range: ByteRange | 'whole',
    signal: AbortSignal,
  ): Promise<Untrusted<Uint8Array>> {
    const { length } = rangeWithin(name, range, objectBytesMax)
    const { payload } = await this.#ask(
      { operation: 'get', name, payload: encodeRange(range), answerBytesMax: length },
      ['body'],
      signal,
    )
    if (range !== 'whole' && payload.byteLength !== length)
      throw broken(`${payload.byteLength} bytes of '${name}' where ${length} were asked for`)
    return new Untrusted(payload)
  }

  async head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    const request = { operation: 'head', name, payload: noPayload, answerBytesMax: 8 } as const
    const { status, payload } = await this.#ask(request, ['size', 'absent'], signal)
    return status === 'absent' ? null : { name, bytes: parseNumber(payload) }
  }

  /** Asks for the next items when the last ones have been taken, so that the storage cannot flood the reader. */
  async *list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    const first = {
      operation: 'list',
      name: kind,
      payload: noPayload,
      answerBytesMax: itemsBytesMax,
    } as const
    let answer = await this.#ask(first, ['items', 'lastItems'], signal)
    let open = answer.status === 'items'
    try {
      for (;;) {
        yield* asProtocolFault(() => parseItems(answer.payload, kind))
        if (!open) return
        // From here to its answer the request is cancelled, if need be, by the connection.
        open = false
        answer = await this.#ask(
          { operation: 'more', name: '', payload: noPayload, answerBytesMax: itemsBytesMax, id: answer.id },
          ['items', 'lastItems'],
          signal,
        )
        open = answer.status === 'items'
      }
    } finally {
      if (open) this.#connection.cancel(answer.id)
    }
  }

  async remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    checkRemoval(name, grant, false)
    const request = {
      operation: 'remove',
      name,
      payload: encodeNumber(grant.entry),
      answerBytesMax: 0,
    } as const
    await this.#ask(request, ['done'], signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]()
  }

  async #ask(request: Request, expected: readonly Status[], signal: AbortSignal): Promise<Answer> {
    const answerBytesMax = Math.max(request.answerBytesMax, errorBytesMax)
    const answer = await this.#connection.request({ ...request, answerBytesMax }, signal)
    if (answer.status === 'error') throw asProtocolFault(() => parseError(answer.payload))
    if (!expected.includes(answer.status))
      throw broken(`'${answer.status}' as the answer to '${request.operation}'`)
    return answer
  }
}
