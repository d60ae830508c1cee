import type { ByteRange, ObjectHead, ObjectKind, ObjectName, ObjectStore } from '../storage/object-store.ts'
import type { RepositoryCache } from './repository-cache.ts'

/** Keeps dom0's own copy of every index object before storage gets it. */
export class CachingStore implements ObjectStore {
  readonly #inner: ObjectStore
  readonly #cache: RepositoryCache

  constructor(inner: ObjectStore, cache: RepositoryCache) {
    this.#inner = inner
    this.#cache = cache
  }

  async put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    if (name.startsWith('index/')) await this.#cache.keep(name, body)
    await this.#inner.put(name, body, signal)
  }
  get(name: ObjectName, range: ByteRange | 'whole', signal: AbortSignal) {
    return this.#inner.get(name, range, signal)
  }
  head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    return this.#inner.head(name, signal)
  }
  list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    return this.#inner.list(kind, signal)
  }
}
