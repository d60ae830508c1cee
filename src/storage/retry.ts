import type { Clock } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import type { Untrusted } from '../base/untrusted.ts'
import type {
  ByteRange,
  ObjectHead,
  ObjectKind,
  ObjectName,
  PrunableObjectStore,
  RemovalGrant,
} from './object-store.ts'

const pauseMillisecondsFirst = 200
const pauseMillisecondsMax = 10_000

/**
 * Tries again what failed with `retry: true`, up to `attempts` times in all, with growing pauses. A `put` whose answer was lost
 * succeeds the second time because the bytes are the same. A list that broke off is not begun again: its items are
 * with the caller already, who gets the error.
 */
export function withRetry(store: PrunableObjectStore, clock: Clock, attempts: number): PrunableObjectStore {
  return new RetryingStore(store, clock, attempts)
}

class RetryingStore implements PrunableObjectStore {
  readonly #store: PrunableObjectStore
  readonly #clock: Clock
  readonly #attempts: number

  constructor(store: PrunableObjectStore, clock: Clock, attempts: number) {
    this.#store = store
    this.#clock = clock
    this.#attempts = attempts
  }

  put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    return this.#try(() => this.#store.put(name, body, signal), signal)
  }

  get(name: ObjectName, range: ByteRange | 'whole', signal: AbortSignal): Promise<Untrusted<Uint8Array>> {
    return this.#try(() => this.#store.get(name, range, signal), signal)
  }

  head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    return this.#try(() => this.#store.head(name, signal), signal)
  }

  async *list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    const { items, first } = await this.#try(async () => {
      const items = this.#store.list(kind, signal)[Symbol.asyncIterator]()
      return { items, first: await items.next() }
    }, signal)
    try {
      for (let item = first; !item.done; item = await items.next()) yield item.value
    } finally {
      await items.return?.()
    }
  }

  remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    return this.#try(() => this.#store.remove(name, grant, signal), signal)
  }

  #try<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return retrying(work, this.#clock, this.#attempts, signal)
  }
}

/** The same for any `work`. */
export async function retrying<T>(
  work: () => Promise<T>,
  clock: Clock,
  attempts: number,
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1, pause = pauseMillisecondsFirst; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError && error.retry) || attempt >= attempts) throw error
    }
    await clock.sleep(pause, signal)
    pause = Math.min(2 * pause, pauseMillisecondsMax)
  }
}
