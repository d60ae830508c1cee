import { Untrusted } from '../../src/base/untrusted.ts'
import { checkBody, checkRemoval, rangeWithin } from '../../src/storage/body.ts'
import { StorageError } from '../../src/storage/errors.ts'
import type {
  ByteRange,
  ObjectHead,
  ObjectKind,
  ObjectName,
  PrunableObjectStore,
  RemovalGrant,
} from '../../src/storage/object-store.ts'

export type StoreOperation = 'put' | 'get' | 'head' | 'list' | 'remove'

/** Hooks of a test. Each may throw, wait, or answer something else than what is stored. */
export interface MemoryStoreFaults {
  /** Runs before every operation; what it throws is the operation's error and nothing has been done. */
  before?: (operation: StoreOperation, subject: ObjectName | ObjectKind) => void | Promise<void>
  /** Runs after an object was stored: throwing here is an answer that was lost. */
  afterPut?: (name: ObjectName) => void | Promise<void>
  afterRemove?: (name: ObjectName) => void | Promise<void>
  /** What `get` answers instead of `body`, e.g. with a flipped bit. */
  served?: (name: ObjectName, body: Uint8Array) => Uint8Array
}

/** Objects in a Map. Keeps the whole contract, and does as badly as a test wants it to. */
export class MemoryStore implements PrunableObjectStore {
  /** What is stored. Tests may change it behind the store's back: storage is not trusted. */
  readonly objects = new Map<ObjectName, Uint8Array>()
  /** Names in the order in which they became durable. */
  readonly journal: ObjectName[] = []
  /** Under which an object was removed, in that order. */
  readonly grants: RemovalGrant[] = []
  /** How many operations of each kind were begun. */
  readonly calls: Record<StoreOperation, number> = { put: 0, get: 0, head: 0, list: 0, remove: 0 }
  readonly appendOnly: boolean
  faults: MemoryStoreFaults

  constructor(options: { appendOnly?: boolean; faults?: MemoryStoreFaults } = {}) {
    this.appendOnly = options.appendOnly ?? true
    this.faults = options.faults ?? {}
  }

  get bytesStored(): number {
    let sum = 0
    for (const body of this.objects.values()) sum += body.byteLength
    return sum
  }

  /** The bytes stored under a name, for a test's assertions. */
  body(name: ObjectName): Uint8Array {
    const body = this.objects.get(name)
    if (body === undefined) throw new StorageError('STORAGE_MISSING', `no object '${name}'`)
    return body
  }

  /** Flips one bit of what is stored. */
  damage(name: ObjectName, at = 0): void {
    const body = this.body(name)
    const place = at < 0 ? body.byteLength + at : at
    body[place] = (body[place] ?? 0) ^ 1
  }

  async put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#begin('put', name, signal)
    checkBody(name, body)
    const present = this.objects.get(name)
    if (present !== undefined && !Buffer.from(present).equals(body))
      throw new StorageError('STORAGE_TAKEN', `'${name}' exists with another content`)
    if (present === undefined) {
      this.objects.set(name, new Uint8Array(body))
      this.journal.push(name)
    }
    await this.faults.afterPut?.(name)
  }

  async get(
    name: ObjectName,
    range: ByteRange | 'whole',
    signal: AbortSignal,
  ): Promise<Untrusted<Uint8Array>> {
    await this.#begin('get', name, signal)
    const body = this.body(name)
    const { offset, length } = rangeWithin(name, range, body.byteLength)
    const served = this.faults.served?.(name, new Uint8Array(body)) ?? body
    return new Untrusted(served.slice(offset, offset + length))
  }

  async head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    await this.#begin('head', name, signal)
    const body = this.objects.get(name)
    return body === undefined ? null : { name, bytes: body.byteLength }
  }

  async *list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    await this.#begin('list', kind, signal)
    for (const [name, body] of [...this.objects]) {
      signal.throwIfAborted()
      if (name === kind || name.startsWith(`${kind}/`)) yield { name, bytes: body.byteLength }
    }
  }

  async remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    await this.#begin('remove', name, signal)
    checkRemoval(name, grant, this.appendOnly)
    if (this.objects.delete(name)) this.grants.push(grant)
    await this.faults.afterRemove?.(name)
  }

  async #begin(
    operation: StoreOperation,
    subject: ObjectName | ObjectKind,
    signal: AbortSignal,
  ): Promise<void> {
    signal.throwIfAborted()
    this.calls[operation]++
    await this.faults.before?.(operation, subject)
    signal.throwIfAborted()
  }
}
