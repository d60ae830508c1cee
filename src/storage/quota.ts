import type { Untrusted } from '../base/untrusted.ts'
import { StorageError } from './errors.ts'
import {
  type ByteRange,
  type ObjectHead,
  type ObjectKind,
  type ObjectName,
  objectKinds,
  type PrunableObjectStore,
  type RemovalGrant,
} from './object-store.ts'

/**
 * Refuses a `put` by which the objects would have more than `bytesMax` in all. They are counted once, by the first `put`, and
 * from then on here; so all writers of a repository must share one such store.
 */
export function withQuota(store: PrunableObjectStore, bytesMax: number): PrunableObjectStore {
  return new QuotaStore(store, bytesMax)
}

class QuotaStore implements PrunableObjectStore {
  readonly #store: PrunableObjectStore
  readonly #bytesMax: number
  /** The last operation on each name: one after another, so that no object is counted twice. */
  readonly #turns = new Map<ObjectName, Promise<unknown>>()
  #counted: Promise<void> | null = null
  #bytes = 0

  constructor(store: PrunableObjectStore, bytesMax: number) {
    this.#store = store
    this.#bytesMax = bytesMax
  }

  async put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#count()
    await this.#inTurn(name, async () => {
      if ((await this.#store.head(name, signal)) !== null) return this.#store.put(name, body, signal)
      if (this.#bytes + body.byteLength > this.#bytesMax)
        throw new StorageError(
          'STORAGE_QUOTA',
          `${this.#bytes} of ${this.#bytesMax} bytes are used; '${name}' needs ${body.byteLength}`,
        )
      this.#bytes += body.byteLength
      try {
        await this.#store.put(name, body, signal)
      } catch (error) {
        // A failed put may have stored the object all the same; the next one finds it there and does not count it.
        const stored = await this.#store.head(name, new AbortController().signal).catch(() => null)
        if (stored === null) this.#bytes -= body.byteLength
        throw error
      }
    })
  }

  get(name: ObjectName, range: ByteRange | 'whole', signal: AbortSignal): Promise<Untrusted<Uint8Array>> {
    return this.#store.get(name, range, signal)
  }

  head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    return this.#store.head(name, signal)
  }

  list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    return this.#store.list(kind, signal)
  }

  async remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    await this.#count()
    await this.#inTurn(name, async () => {
      const present = await this.#store.head(name, signal)
      await this.#store.remove(name, grant, signal)
      this.#bytes -= present?.bytes ?? 0
    })
  }

  /** Shared by all who wait for it, so no single one may abort it. */
  #count(): Promise<void> {
    this.#counted ??= this.#sum(new AbortController().signal).catch(error => {
      this.#counted = null
      throw error
    })
    return this.#counted
  }

  async #sum(signal: AbortSignal): Promise<void> {
    let bytes = 0
    for (const kind of objectKinds)
      for await (const head of this.#store.list(kind, signal)) bytes += head.bytes
    this.#bytes = bytes
  }

  async #inTurn(name: ObjectName, work: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(name) ?? Promise.resolve()
    const turn = before.then(work, work)
    this.#turns.set(name, turn)
    try {
      await turn
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name)
    }
  }
}
