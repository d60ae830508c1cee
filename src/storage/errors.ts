import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const storageErrors = {
  STORAGE_HASH: {
    kind: 'integrity',
    meaning: 'The SHA-256 of an object is not its name.',
    hint: 'the object was damaged on its way or where it lies; check the storage and its memory',
  },
  STORAGE_TAKEN: {
    kind: 'conflict',
    meaning: 'An object of this name with another content exists already; objects are written once.',
    hint: 'the repository exists already, or an object in it was damaged: check the repository',
  },
  STORAGE_MISSING: {
    kind: 'missing',
    meaning: 'There is no object of this name.',
    hint: 'check the repository against the ledger',
  },
  STORAGE_RANGE: {
    kind: 'usage',
    meaning: 'A range outside of the object, or an object larger than any object may be.',
    hint: 'the object is shorter than its index says: check the repository',
  },
  STORAGE_FULL: {
    kind: 'full',
    meaning: 'The storage has no room left.',
    hint: 'make room on the storage, then order again; nothing that was stored is lost',
  },
  STORAGE_QUOTA: {
    kind: 'full',
    meaning: 'The object would exceed the quota of the repository.',
    hint: 'raise the quota or prune',
  },
  STORAGE_APPEND_ONLY: {
    kind: 'refused',
    meaning: 'The storage only appends, or the connection may only read.',
    hint: 'objects other than locks are removed by prune only',
  },
  STORAGE_GRACE: {
    kind: 'conflict',
    meaning: 'The storage keeps every object for a while, whoever wants it removed, and this one is younger.',
    hint: 'prune again when that time is over; the storage VM’s setting `removableAfterHours` says how long it is',
  },
  STORAGE_IO: {
    kind: 'failed',
    meaning: 'The storage’s file system or disk failed.',
    hint: 'look into the log of the storage VM and at its disk',
  },
  STORAGE_PROTOCOL: {
    kind: 'unavailable',
    meaning: 'The other end of a storage connection does not keep to the protocol.',
    hint: 'both ends must be of the same version; look into the log of the storage VM',
  },
  STORAGE_UNAVAILABLE: {
    kind: 'unavailable',
    meaning: 'The connection to the storage broke or could not be made.',
    hint: 'look whether the storage VM is running, then try again',
  },
  STORAGE_BUSY: {
    kind: 'conflict',
    meaning: 'A scrub of this repository runs already.',
    hint: 'wait for it to end; one that was broken off is noticed within moments',
  },
  STORAGE_CAPABILITY: {
    kind: 'refused',
    meaning: 'The capability is unknown or its grant has ended.',
    hint: 'a capability lives as long as the connection that it was granted on',
  },
} as const satisfies ErrorCatalogue

export type StorageErrorCode = keyof typeof storageErrors

export class StorageError extends errorClass(storageErrors) {}
