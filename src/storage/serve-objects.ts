import type { Duplex } from 'node:stream'
import { CodedError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { StreamReader } from '../base/reader.ts'
import { StorageError } from './errors.ts'
import { Gate, type Leave } from './gate.ts'
import { type ObjectHead, type ObjectName, objectBytesMax, type PrunableObjectStore } from './object-store.ts'
import { onAbort } from './on-abort.ts'
import {
  broken,
  encodeResponseHeader,
  heldBytesMax,
  itemsCountMax,
  parseRequestHeader,
  type RequestHeader,
  requestHeaderLength,
  requestsMax,
  type Status,
} from './wire.ts'
import {
  asObjectName,
  encodeError,
  encodeItems,
  encodeNumber,
  parseKind,
  parseNumber,
  parseRange,
} from './wire-payloads.ts'

/** `read`: get, head and list only. */
export type Power = 'all' | 'read'

/**
 * Serves one connection until the client closes it. Frames that break the protocol end it with `STORAGE_PROTOCOL`; an
 * aborted `signal` ends it with the signal's reason. Requests of a client that has gone are aborted.
 */
export async function serveObjects(
  stream: Duplex,
  store: PrunableObjectStore,
  power: Power,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await new ObjectsServer(stream, store, power, log, signal).run()
}

interface Request {
  readonly header: RequestHeader
  readonly name: Uint8Array
  readonly payload: Uint8Array
}

interface Response {
  readonly status: Status
  readonly payload: Uint8Array
}

const nothing = new Uint8Array(0)
const done: Response = { status: 'done', payload: nothing }

class ObjectsServer {
  readonly #stream: Duplex
  readonly #store: PrunableObjectStore
  readonly #power: Power
  readonly #log: Log
  readonly #end = new AbortController()
  readonly #signal: AbortSignal
  readonly #requests = new Gate(requestsMax, Number.POSITIVE_INFINITY)
  readonly #held = new Gate(Number.POSITIVE_INFINITY, heldBytesMax)
  readonly #running = new Map<number, AbortController>()
  readonly #work = new Set<Promise<void>>()
  /** Lists of which some items were sent, until the client wants more. */
  readonly #lists = new Map<number, AsyncIterator<ObjectHead>>()

  constructor(stream: Duplex, store: PrunableObjectStore, power: Power, log: Log, signal: AbortSignal) {
    this.#stream = stream
    this.#store = store
    this.#power = power
    this.#log = log
    this.#signal = AbortSignal.any([signal, this.#end.signal])
  }

  async run(): Promise<void> {
    const stopListening = onAbort(this.#signal, () => this.#stream.destroy())
    this.#stream.on('error', () => {})
    try {
      await this.#receive(new StreamReader(this.#stream))
    } catch (error) {
      this.#signal.throwIfAborted()
      throw error
    } finally {
      stopListening()
      // A client ends its half when it wants no more answers.
      this.#end.abort(new StorageError('STORAGE_UNAVAILABLE', 'the client has gone'))
      await Promise.allSettled(this.#work)
      for (const items of this.#lists.values()) await items.return?.()
      this.#stream.end()
    }
  }

  async #receive(reader: StreamReader): Promise<void> {
    for (;;) {
      const bytes = await reader.exactlyOrEnd(requestHeaderLength)
      if (bytes === null) return
      const header = parseRequestHeader(bytes)
      if (header.operation === 'cancel') {
        if (header.nameLength > 0) throw broken('a cancel with a name')
        this.#cancel(header.id)
        continue
      }
      if (this.#running.has(header.id)) throw broken(`the id ${header.id} is in use`)
      const leave = await this.#requests.enter(0, this.#signal)
      const name = await reader.exactly(header.nameLength)
      if (!this.#mayDo(header)) {
        await this.#respond(header.id, refusal(header), leave)
        return
      }
      // Of a get the body that is sent counts, which must not wait for the few bytes of its own request.
      const heldBytes = header.operation === 'put' ? header.payloadLength : 0
      const release = await this.#held.enter(heldBytes, this.#signal)
      const payload = await reader.exactly(header.payloadLength)
      this.#start({ header, name, payload }, () => {
        release()
        leave()
      })
    }
  }

  #mayDo({ operation }: RequestHeader): boolean {
    return this.#power === 'all' || (operation !== 'put' && operation !== 'remove')
  }

  #start(request: Request, leave: Leave): void {
    const { id } = request.header
    const abort = new AbortController()
    this.#running.set(id, abort)
    const work = this.#handle(request, AbortSignal.any([abort.signal, this.#signal]), leave)
      // The stream broke; the loop that reads it hears that too.
      .catch(() => {})
      .finally(() => {
        leave()
        this.#work.delete(work)
      })
    this.#work.add(work)
  }

  async #handle(request: Request, signal: AbortSignal, leave: Leave): Promise<void> {
    const { id, operation } = request.header
    let response: Response
    let releaseBody: Leave = () => {}
    try {
      if (operation === 'get') releaseBody = await this.#reserveBody(request, signal)
      response = await this.#answer(request, signal)
    } catch (error) {
      this.#logFailure(request, error)
      response = { status: 'error', payload: encodeError(error) }
    }
    // Before the answer leaves: the client may use the id again as soon as it has it.
    this.#running.delete(id)
    try {
      await this.#respond(id, response, leave)
    } finally {
      releaseBody()
    }
  }

  /** Room for the body that will be sent. Of a whole object, the storage says how much that is. Throws `STORAGE_RANGE`. */
  async #reserveBody({ name, payload }: Request, signal: AbortSignal): Promise<Leave> {
    const range = parseRange(payload)
    const bytes =
      range === 'whole' ? ((await this.#store.head(asObjectName(name), signal))?.bytes ?? 0) : range.length
    if (bytes > objectBytesMax)
      throw new StorageError('STORAGE_RANGE', `${bytes} bytes; at most ${objectBytesMax} are sent at once`)
    return this.#held.enter(bytes, signal)
  }

  async #answer({ header, name, payload }: Request, signal: AbortSignal): Promise<Response> {
    switch (header.operation) {
      case 'put':
        await this.#store.put(asObjectName(name), payload, signal)
        return done
      case 'get': {
        const body = await this.#store.get(asObjectName(name), parseRange(payload), signal)
        return { status: 'body', payload: body.parse(passedOn) }
      }
      case 'head': {
        const head = await this.#store.head(asObjectName(name), signal)
        return head === null
          ? { status: 'absent', payload: nothing }
          : { status: 'size', payload: encodeNumber(head.bytes) }
      }
      case 'remove':
        return this.#remove(asObjectName(name), parseNumber(payload), signal)
      case 'list':
        return this.#listFirst(header.id, name)
      case 'more':
        return this.#listMore(header.id)
      case 'cancel':
        throw broken('a cancel is not answered')
    }
  }

  async #remove(name: ObjectName, entry: number, signal: AbortSignal): Promise<Response> {
    await this.#store.remove(name, { name, entry }, signal)
    this.#log.info('object removed', { name, entry })
    return done
  }

  async #listFirst(id: number, untrustedKind: Uint8Array): Promise<Response> {
    const kind = parseKind(Buffer.from(untrustedKind).toString('latin1'))
    if (this.#lists.size >= requestsMax) throw broken(`more than ${requestsMax} lists are open`)
    if (this.#lists.has(id)) throw broken(`the list ${id} is open already`)
    return this.#nextItems(id, this.#store.list(kind, this.#signal)[Symbol.asyncIterator]())
  }

  async #listMore(id: number): Promise<Response> {
    const items = this.#lists.get(id)
    if (items === undefined) throw broken(`there is no list ${id}`)
    this.#lists.delete(id)
    return this.#nextItems(id, items)
  }

  async #nextItems(id: number, items: AsyncIterator<ObjectHead>): Promise<Response> {
    const batch: ObjectHead[] = []
    while (batch.length < itemsCountMax) {
      const item = await items.next()
      if (item.done) return { status: 'lastItems', payload: encodeItems(batch) }
      batch.push(item.value)
    }
    if (this.#running.get(id)?.signal.aborted) await items.return?.()
    else this.#lists.set(id, items)
    return { status: 'items', payload: encodeItems(batch) }
  }

  #cancel(id: number): void {
    this.#running
      .get(id)
      ?.abort(new StorageError('STORAGE_UNAVAILABLE', 'the client has cancelled the request'))
    const items = this.#lists.get(id)
    this.#lists.delete(id)
    items?.return?.().catch(() => {})
  }

  /** Resolves when the response has left, so that what waits to be sent counts as held. */
  async #respond(id: number, { status, payload }: Response, leave: Leave): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        const sent = (error?: Error | null) => (error ? reject(error) : resolve())
        this.#stream.cork()
        const header = encodeResponseHeader({ id, status, payloadLength: payload.byteLength })
        if (payload.byteLength === 0) this.#stream.write(header, sent)
        else {
          this.#stream.write(header)
          this.#stream.write(payload, sent)
        }
        this.#stream.uncork()
      })
    } finally {
      leave()
    }
  }

  #logFailure({ header, name }: Request, error: unknown): void {
    const fields = { operation: header.operation, name: Buffer.from(name).toString('latin1'), error }
    if (!(error instanceof CodedError)) this.#log.error('storage request failed unexpectedly', fields)
    else if (error.kind === 'failed' || error.kind === 'integrity')
      this.#log.error('storage request failed', fields)
  }
}

function refusal({ operation }: RequestHeader): Response {
  const error = new StorageError('STORAGE_APPEND_ONLY', `'${operation}' on a connection that may only read`)
  return { status: 'error', payload: encodeError(error) }
}

/** Bodies pass through: what they mean is for whoever asked. */
function passedOn(untrustedBody: Uint8Array): Uint8Array {
  return untrustedBody
}
