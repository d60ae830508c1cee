import { readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { ObjectReference } from '../repository/format.ts'
import {
  type ObjectName,
  type ObjectStore,
  objectBytesMax,
  objectName,
  parseObjectName,
} from '../storage/object-store.ts'
import { EngineError } from './errors.ts'

/**
 * dom0's copies of one repository's key file, config and index objects: as stored, that is sealed. With it a backup
 * reads nothing from storage. A copy that is lost is fetched again, and believed only if its hash is the ledger's.
 */
export class RepositoryCache {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** The file of the table of all blobs. */
  get indexTable(): string {
    return path.join(this.#directory, 'blobs')
  }

  async keep(name: ObjectName, body: Uint8Array): Promise<void> {
    const file = this.#file(name)
    await makePrivateDirectory(path.dirname(file))
    await writeDurably(file, body)
  }

  /** The object with the hash that the ledger gives; from storage only when the cache has none or a damaged one. */
  async get(
    kind: 'keys' | 'index' | 'config',
    reference: ObjectReference,
    store: ObjectStore,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const name = kind === 'config' ? parseObjectName('config') : objectName(kind, reference.id)
    const right = (bytes: Uint8Array) => sha256Hex(bytes) === reference.id
    const cached = await readBounded(this.#file(name), objectBytesMax)
    const kept = cached?.parse(bytes => (right(bytes) ? bytes : null)) ?? null
    if (kept !== null) return kept
    const fetched = (await store.get(name, 'whole', signal)).parse(bytes => {
      if (!right(bytes))
        throw new EngineError(
          'REPOSITORY_PIN',
          `storage answered ${name} with bytes that are not those of the ledger`,
        )
      return bytes
    })
    await this.keep(name, fetched)
    return fetched
  }

  /** Removes the copies of all index objects but these. */
  async keepIndexOnly(ids: ReadonlySet<string>): Promise<void> {
    const directory = path.join(this.#directory, 'index')
    const names = await readdir(directory).catch(error => {
      ignoreMissing(error)
      return []
    })
    for (const name of names)
      if (!ids.has(name)) await unlink(path.join(directory, name)).catch(ignoreMissing)
  }

  #file(name: ObjectName): string {
    return path.join(this.#directory, name)
  }
}
