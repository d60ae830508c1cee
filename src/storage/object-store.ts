import { BaseError } from '../base/base-errors.ts'
import type { Brand } from '../base/brand.ts'
import type { ByteRange } from '../base/byte-range.ts'
import { printable } from '../base/errors.ts'
import type { Untrusted } from '../base/untrusted.ts'

export type { ByteRange }

/** The directories of a restic repository; `config` is the one object without a hash for a name. */
export const objectKinds = ['config', 'keys', 'snapshots', 'index', 'data', 'locks'] as const
export type ObjectKind = (typeof objectKinds)[number]

/** `config`, or `<kind>/<64 lower-case hex>` where the hex is SHA-256 of the body. */
export type ObjectName = Brand<string, 'ObjectName'>

const namePattern = /^(?:config|(?:keys|snapshots|index|data|locks)\/[0-9a-f]{64})$/

export function parseObjectName(untrustedText: string): ObjectName {
  if (!namePattern.test(untrustedText))
    throw new BaseError('NAME_INVALID', `not an object name: '${printable(untrustedText).slice(0, 100)}'`)
  return untrustedText as ObjectName
}

export function objectName(kind: Exclude<ObjectKind, 'config'>, id: string): ObjectName {
  return parseObjectName(`${kind}/${id}`)
}

export interface ObjectHead {
  readonly name: ObjectName
  readonly bytes: number
}

/** The largest object there may be: a pack of 128 MiB plus its header. */
export const objectBytesMax = 144 * 1024 * 1024

/**
 * Write-once objects. All methods may be called concurrently; each throws a `StorageError` and may be retried when
 * `error.retry` is set. `signal` aborts with its reason and leaves no partial object.
 */
export interface ObjectStore {
  /**
   * Atomic and durable when it resolves. The name must be SHA-256 of the body (`STORAGE_HASH`), except `config`.
   * A name that is taken: the same bytes again succeed (a retry after a lost answer), others throw `STORAGE_TAKEN`.
   * `body` must not be changed until the promise settles.
   */
  put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void>
  /**
   * The whole body or a range of it, in memory that is the caller's own from then on; `STORAGE_MISSING` when there is
   * none, `STORAGE_RANGE` outside of the body.
   */
  get(name: ObjectName, range: ByteRange | 'whole', signal: AbortSignal): Promise<Untrusted<Uint8Array>>
  /** `null` when there is no such object. The size is the storage's word. */
  head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null>
  /** In no particular order; names that are no object names are passed over. What it yields is the storage's word. */
  list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead>
}

/** Permission to remove one object, tied to the ledger entry that explains it. */
export interface RemovalGrant {
  readonly name: ObjectName
  /** Index of the signed ledger entry. */
  readonly entry: number
}

/** Removal is another power, given only to prune, to locks, and refused by a sink in append-only mode. */
export interface PrunableObjectStore extends ObjectStore {
  /**
   * Idempotent. `STORAGE_APPEND_ONLY` when the sink does not remove objects of that kind, `STORAGE_GRACE` when this one is
   * younger than what it removes.
   */
  remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void>
}
