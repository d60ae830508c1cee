import type { StreamCall } from '../call.ts'

/*
 * dom0 writes and removes, a sandbox reads what it was granted; the management VM reaches the storage not at all. The
 * frames of the first and the last are those of `src/storage/wire.ts`.
 */

/** All operations on one repository. */
export const storageObjects = {
  service: 'strongroom.Storage',
  argument: 'repository',
  from: ['dom0'],
  to: 'storage',
  summary: 'store, read, list and remove the objects of a repository',
  stream: true,
} as const satisfies StreamCall

/** Answers one line, a fresh capability in 32 hex digits, which ends with this connection. */
export const storageGrant = {
  service: 'strongroom.StorageGrant',
  argument: 'repository',
  from: ['dom0'],
  to: 'storage',
  summary: 'a capability to read a repository for as long as the connection lasts',
  stream: true,
} as const satisfies StreamCall

/**
 * One line of JSON at a time, as `src/storage/scrub-lines.ts` has them: progress, and last the report. The scrub goes on
 * as long as the connection, and the next one begins where it was.
 */
export const storageScrub = {
  service: 'strongroom.Scrub',
  argument: 'repository',
  from: ['dom0'],
  to: 'storage',
  summary: 'hash every object of a repository, and name those that are not what their name says',
  stream: true,
} as const satisfies StreamCall

/** get, head and list only. */
export const storageRead = {
  service: 'strongroom.StorageRead',
  argument: 'capability',
  from: ['sandbox'],
  to: 'storage',
  summary: 'read the repository that the capability was granted for',
  stream: true,
} as const satisfies StreamCall
