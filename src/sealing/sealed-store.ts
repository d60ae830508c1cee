import type { Digest } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import type { Custody } from './root.ts'

/** The configuration in force. */
export interface Sealed<T> {
  readonly value: T
  readonly version: number
  /** SHA-256 of the snapshot's payload: two machines with the same digest have the same configuration. */
  readonly digest: Digest
  readonly expires: Date
  /** By the clock of now. It stays in force, and somebody should be told. */
  readonly expired: boolean
  readonly custody: Custody
}

export interface SealedStore<T> {
  current(): Sealed<T>
  /**
   * Verifies an update, refuses any version but the next, replaces the store atomically and durably, and returns what
   * is then in force. A refused update changes nothing. Updates given at once are taken one after another.
   */
  admit(update: Untrusted<Uint8Array>): Promise<Sealed<T>>
}
