import { finished } from 'node:stream/promises'
import type { Entropy } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import { dom0, parseRepositoryName, type RepositoryName, type VmName } from '../base/names.ts'
import { storageGrant, storageObjects, storageRead } from '../qrexec/calls/storage.ts'
import type { Handler } from '../qrexec/server.ts'
import { StorageError } from './errors.ts'
import { Grants } from './grants.ts'
import type { PrunableObjectStore } from './object-store.ts'
import { serveObjects } from './serve-objects.ts'

export interface SinkOptions {
  /** The same store each time for the same name. Nothing may be made on disk before its first `put`. */
  readonly repositories: (name: RepositoryName) => PrunableObjectStore
  readonly log: Log
  readonly entropy: Entropy
}

/**
 * The storage VM's half of the storage calls, by service name. Policy lets only dom0 write and grant; it is looked at
 * here once more. A capability to read lives as long as the connection that it was granted on.
 */
export function serveStorage({ repositories, log, entropy }: SinkOptions): Readonly<Record<string, Handler>> {
  const grants = new Grants(entropy)
  return {
    [storageObjects.service]: async ({ argument, source, stream }) => {
      onlyDom0(source)
      const never = new AbortController().signal
      await serveObjects(stream, repositories(parseRepositoryName(argument)), 'all', log, never)
    },
    [storageGrant.service]: async ({ argument, source, stream }) => {
      onlyDom0(source)
      using grant = grants.give(parseRepositoryName(argument))
      stream.write(`${grant.capability}\n`)
      // Nothing more is said. Reading on is what notices the end; what is read is thrown away.
      stream.resume()
      await finished(stream, { writable: false }).catch(() => {})
    },
    [storageRead.service]: async ({ argument, stream }) => {
      const { repository, signal } = grants.find(argument)
      await serveObjects(stream, repositories(repository), 'read', log, signal)
    },
  }
}

export function onlyDom0(source: VmName): void {
  if (source !== dom0)
    throw new StorageError('STORAGE_CAPABILITY', `'${source}' may not use a service that is dom0's`)
}
