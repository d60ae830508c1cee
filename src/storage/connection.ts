import type { Duplex } from 'node:stream'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { StreamReader } from '../base/reader.ts'
import { StorageError } from './errors.ts'
import { Gate, type Leave } from './gate.ts'
import { onAbort } from './on-abort.ts'
import {
  broken,
  encodeRequest,
  heldBytesMax,
  type Operation,
  parseResponseHeader,
  requestsMax,
  responseHeaderLength,
  type Status,
} from './wire.ts'

/** Of a storage that is asked, and neither answers nor takes anything. */
export const silenceMillisecondsMax: Milliseconds = 5 * 60 * 1000

/** Of a payload that is written at once, so that a stream can keep to a rate, and shows that it goes on. */
const pieceBytes = 64 * 1024

export interface Request {
  readonly operation: Operation
  readonly name: string
  readonly payload: Uint8Array
  /** An answer with a longer payload breaks the connection before that payload is read. */
  readonly answerBytesMax: number
  /** For `more`: the list's own id. */
  readonly id?: number
}

export interface Answer {
  readonly id: number
  readonly status: Status
  /** The storage's word, unparsed. */
  readonly payload: Uint8Array
}

interface Pending {
  readonly answerBytesMax: number
  /** Settles the request once it has been sent as well: only then are its bytes no longer held here. */
  answered(answer: Answer): void
  fail(error: StorageError): void
}

/**
 * The client's end of a storage connection: numbers requests and finds their answers, which may come in any order. When the
 * stream breaks, everything pending fails with `STORAGE_UNAVAILABLE`, and so does whatever is asked afterwards.
 */
export class StorageConnection implements AsyncDisposable {
  readonly #stream: Duplex
  readonly #gate = new Gate(requestsMax, heldBytesMax)
  readonly #pending = new Map<number, Pending>()
  readonly #closed: Promise<void>
  #lastId = 0
  #failure: StorageError | null = null
  /** Answers, and pieces that were taken. */
  #signsOfLife = 0
  #watching = false

  constructor(stream: Duplex) {
    this.#stream = stream
    this.#closed = new Promise(resolve => stream.once('close', resolve))
    // The reader hears the first error; later ones say nothing new.
    stream.on('error', () => {})
    this.#receive().catch(error => this.#fail(error))
  }

  async request(request: Request, signal: AbortSignal): Promise<Answer> {
    const leave = await this.#gate.enter(request.payload.byteLength, signal)
    if (this.#failure !== null) {
      leave()
      throw unavailable(this.#failure)
    }
    return this.#send(request, leave, signal)
  }

  /** Tells the other end that nobody waits for `id` any more. */
  cancel(id: number): void {
    if (this.#failure === null) this.#stream.write(encodeRequest('cancel', id, '', 0))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Of what nobody waits for, nothing is waited for: a storage that takes no more would hold the caller for ever.
    const idle = this.#pending.size === 0 && this.#failure === null && this.#stream.writableLength === 0
    this.#failure ??= new StorageError('STORAGE_UNAVAILABLE', 'the connection to the storage was closed')
    if (idle) this.#stream.end(() => this.#stream.destroy())
    else this.#fail(this.#failure)
    await this.#closed
  }

  /**
   * An aborted request keeps its id and its place until its answer has come: its bytes may still be on their way, and the answer
   * must not be taken for another's. A storage that answers before it has taken all gains nothing by it.
   */
  #send(request: Request, leave: Leave, signal: AbortSignal): Promise<Answer> {
    const { operation, name, payload, answerBytesMax, id = this.#newId() } = request
    return new Promise((resolve, reject) => {
      const stopListening = onAbort(signal, () => {
        this.cancel(id)
        reject(signal.reason)
      })
      const settled = () => {
        stopListening()
        leave()
      }
      let isSent = false
      let received: Answer | null = null
      const settle = () => {
        if (!isSent || received === null) return
        this.#pending.delete(id)
        settled()
        resolve(received)
      }
      const pending: Pending = {
        answerBytesMax,
        answered: answer => {
          if (received !== null) throw broken(`a second answer to ${id}`)
          received = answer
          settle()
        },
        fail: error => {
          settled()
          reject(error)
        },
      }
      const sent = () => {
        isSent = true
        settle()
      }
      this.#pending.set(id, pending)
      this.#watch()
      this.#stream.cork()
      const head = encodeRequest(operation, id, name, payload.byteLength)
      if (payload.byteLength === 0) this.#stream.write(head, sent)
      else {
        this.#stream.write(head)
        this.#writePieces(payload, sent)
      }
      this.#stream.uncork()
    })
  }

  #writePieces(payload: Uint8Array, sent: () => void): void {
    for (let at = 0; at < payload.byteLength; at += pieceBytes) {
      const isLast = at + pieceBytes >= payload.byteLength
      this.#stream.write(payload.subarray(at, at + pieceBytes), error => {
        if (!error) this.#signsOfLife += 1
        if (isLast) sent()
      })
    }
  }

  async #receive(): Promise<never> {
    const reader = new StreamReader(this.#stream)
    for (;;) {
      const header = parseResponseHeader(await reader.exactly(responseHeaderLength))
      const { id, status, payloadLength } = header
      const pending = this.#pending.get(id)
      if (pending === undefined) throw broken(`an answer to ${id}, which was not asked`)
      if (payloadLength > pending.answerBytesMax)
        throw broken(`an answer of ${payloadLength} bytes; at most ${pending.answerBytesMax} were asked for`)
      const payload = await reader.exactly(payloadLength)
      this.#signsOfLife += 1
      pending.answered({ id, status, payload })
    }
  }

  /** One timer for all that is pending: a silence is noticed after its maximum, or at the latest after twice that. */
  #watch(): void {
    if (this.#watching || this.#pending.size === 0) return
    this.#watching = true
    const before = this.#signsOfLife
    const silent = () =>
      new StorageError('STORAGE_UNAVAILABLE', `the storage gave no answer for ${silenceMillisecondsMax} ms`)
    const late = deadline(silenceMillisecondsMax, silent)
    onAbort(late, () => {
      this.#watching = false
      if (this.#pending.size > 0 && this.#signsOfLife === before) this.#fail(late.reason)
      else this.#watch()
    })
  }

  #fail(error: unknown): void {
    this.#failure ??= unavailable(error)
    const pending = [...this.#pending.values()]
    this.#pending.clear()
    for (const one of pending) one.fail(unavailable(error))
    this.#stream.destroy()
  }

  #newId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0
    while (this.#pending.has(this.#lastId))
    return this.#lastId
  }
}

function unavailable(cause: unknown): StorageError {
  // A storage that breaks the protocol, or that is silent, would do so again.
  if (cause instanceof StorageError && !cause.retry) return cause
  return new StorageError('STORAGE_UNAVAILABLE', 'the connection to the storage broke', {
    cause,
    retry: true,
  })
}
