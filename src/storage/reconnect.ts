import type { Milliseconds } from '../base/brand.ts'
import { CodedError } from '../base/errors.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { StorageError } from './errors.ts'
import type { ByteRange, ObjectHead, ObjectKind, ObjectName, RemovalGrant } from './object-store.ts'
import { onAbort } from './on-abort.ts'
import type { RemoteStore } from './remote.ts'

/** A VM that takes the call and then says nothing must not hold a job for ever. */
export const connectMillisecondsMax: Milliseconds = 30_000

/** Aborted when connecting takes too long, and later with the store's own signal. */
export type Connect = (signal: AbortSignal) => Promise<RemoteStore>

/**
 * A remote store that connects when first used, and anew after its connection broke. What was under way at that moment
 * fails with `retry` set: `withRetry` around this gives a store that outlives a restart of the storage VM.
 * `connect` may reject with any `CodedError`, which counts as retryable: the VM may be on its way up. After `signal`
 * everything fails with its reason, connecting too.
 */
export function reconnecting(connect: Connect, signal: AbortSignal): RemoteStore {
  return new ReconnectingStore(connect, signal)
}

class ReconnectingStore implements RemoteStore {
  readonly #connect: Connect
  readonly #signal: AbortSignal
  #current: Promise<RemoteStore> | null = null
  #closed = false

  constructor(connect: Connect, signal: AbortSignal) {
    this.#connect = connect
    this.#signal = signal
  }

  put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    return this.#with(store => store.put(name, body, signal), signal)
  }

  get(name: ObjectName, range: ByteRange | 'whole', signal: AbortSignal): Promise<Untrusted<Uint8Array>> {
    return this.#with(store => store.get(name, range, signal), signal)
  }

  head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    return this.#with(store => store.head(name, signal), signal)
  }

  async *list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    const current = this.#connected()
    try {
      yield* (await current).list(kind, signal)
    } catch (error) {
      this.#dropIfBroken(current, error)
      throw error
    }
  }

  remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    return this.#with(store => store.remove(name, grant, signal), signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const store = await this.#current?.catch(() => null)
    await store?.[Symbol.asyncDispose]()
  }

  async #with<T>(work: (store: RemoteStore) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    const current = this.#connected()
    try {
      return await work(await current)
    } catch (error) {
      this.#dropIfBroken(current, error)
      throw error
    }
  }

  #connected(): Promise<RemoteStore> {
    if (this.#closed) return Promise.reject(new StorageError('STORAGE_UNAVAILABLE', 'the storage was closed'))
    this.#current ??= this.#open().catch(cause => {
      this.#signal.throwIfAborted()
      if (!(cause instanceof CodedError)) throw cause
      throw new StorageError('STORAGE_UNAVAILABLE', `no connection to the storage: ${cause.message}`, {
        cause,
        retry: true,
      })
    })
    return this.#current
  }

  /** Whoever connects and does not look at its signal is not waited for. */
  async #open(): Promise<RemoteStore> {
    this.#signal.throwIfAborted()
    const late = new AbortController()
    const giveUp = () =>
      late.abort(
        new StorageError('STORAGE_UNAVAILABLE', `no connection within ${connectMillisecondsMax} ms`, {
          retry: true,
        }),
      )
    const timer = setTimeout(giveUp, connectMillisecondsMax)
    timer.unref()
    const either = AbortSignal.any([late.signal, this.#signal])
    const aborted = Promise.withResolvers<never>()
    const stopListening = onAbort(either, () => aborted.reject(either.reason))
    try {
      const connecting = this.#connect(either)
      connecting.then(
        async store => {
          if (either.aborted) await store[Symbol.asyncDispose]()
        },
        () => {},
      )
      return await Promise.race([connecting, aborted.promise])
    } finally {
      stopListening()
      clearTimeout(timer)
    }
  }

  #dropIfBroken(broken: Promise<RemoteStore>, error: unknown): void {
    const connectionBroke = error instanceof CodedError && error.kind === 'unavailable'
    if (!connectionBroke || this.#current !== broken) return
    this.#current = null
    broken.then(store => store[Symbol.asyncDispose]()).catch(() => {})
  }
}
