import { constants } from 'node:fs'
import * as nodeFileSystem from 'node:fs/promises'
import type { Milliseconds } from '../base/brand.ts'
import { toHex } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import { readWhole } from '../base/files.ts'
import { Untrusted } from '../base/untrusted.ts'
import { checkBody, checkRemoval, rangeWithin } from './body.ts'
import { DurableDirectories } from './durable-directories.ts'
import { StorageError } from './errors.ts'
import { type FileSystem, holdsExactly, storageErrorOf } from './file-system.ts'
import { isFanOut, nameOfFile, placeOf } from './layout.ts'
import { writeNewFile } from './new-file.ts'
import {
  type ByteRange,
  type ObjectHead,
  type ObjectKind,
  type ObjectName,
  objectKinds,
  type PrunableObjectStore,
  type RemovalGrant,
} from './object-store.ts'

const temporaryPrefix = '.tmp-'
/** No upload lasts as long; whoever made an older one has died. */
const temporaryMillisecondsMax = 24 * 60 * 60 * 1000
const statsAtOnce = 32

/** O_NOFOLLOW: a planted link leads nowhere. O_NONBLOCK: a planted FIFO cannot hold a thread. */
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

export interface LocalStoreOptions {
  /** true unless told: only locks can be removed. */
  readonly appendOnly?: boolean
  /** How long an object stays whoever wants it removed, by this machine's clock and the file's own time; locks excepted. */
  readonly removalAgeMin?: Milliseconds
  readonly files?: FileSystem
}

/**
 * Objects as files of one directory in restic's layout, so that stock restic reads it as a local repository. The
 * directory is made by the first `put`. Any number of processes may write to it at once. The file system must know hard
 * links, and keep what was synced: on NFS and FUSE that is the server's word.
 */
export class LocalStore implements PrunableObjectStore {
  readonly #root: string
  readonly #environment: Environment
  readonly #appendOnly: boolean
  readonly #removalAgeMin: Milliseconds
  readonly #files: FileSystem
  readonly #directories: DurableDirectories

  constructor(root: string, environment: Environment, options: LocalStoreOptions = {}) {
    this.#root = root
    this.#environment = environment
    this.#appendOnly = options.appendOnly ?? true
    this.#removalAgeMin = options.removalAgeMin ?? 0
    this.#files = options.files ?? nodeFileSystem
    this.#directories = new DurableDirectories(root, this.#files)
  }

  async put(name: ObjectName, body: Uint8Array, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    checkBody(name, body)
    const { directory, file } = placeOf(name)
    await this.#step(name, signal, async () => {
      await this.#directories.ensure(directory)
      const final = this.#path(directory, file)
      const temporary = this.#path(directory, this.#temporaryName())
      let published: boolean
      try {
        // Readable by nobody but the owner, and no longer writable once it has a name.
        await writeNewFile(this.#files, temporary, body, 0o400, signal)
        published = await this.#publish(temporary, final)
      } finally {
        // What cannot be removed now is swept later, and a list never shows it.
        await this.#files.unlink(temporary).catch(() => {})
      }
      if (!published) await this.#confirmSame(name, final, body)
      // Also for an object that was there before: whoever linked it may not have come as far as this.
      await this.#directories.sync(directory)
    })
  }

  async get(
    name: ObjectName,
    range: ByteRange | 'whole',
    signal: AbortSignal,
  ): Promise<Untrusted<Uint8Array>> {
    signal.throwIfAborted()
    const { directory, file } = placeOf(name)
    return this.#step(name, signal, async () => {
      await using handle = await this.#open(this.#path(directory, file))
      if (handle === null) throw new StorageError('STORAGE_MISSING', `there is no object '${name}'`)
      const { size } = await handle.stat()
      const { offset, length } = rangeWithin(name, range, size)
      const body = Buffer.allocUnsafeSlow(length)
      if (!(await readWhole(handle, body, offset)))
        throw new StorageError('STORAGE_IO', `'${name}' became shorter while it was read`)
      signal.throwIfAborted()
      return new Untrusted<Uint8Array>(body)
    })
  }

  async head(name: ObjectName, signal: AbortSignal): Promise<ObjectHead | null> {
    signal.throwIfAborted()
    const { directory, file } = placeOf(name)
    return this.#step(name, signal, () => this.#head(name, this.#path(directory, file)))
  }

  async *list(kind: ObjectKind, signal: AbortSignal): AsyncIterable<ObjectHead> {
    signal.throwIfAborted()
    if (kind === 'config') {
      const head = await this.head('config' as ObjectName, signal)
      if (head !== null) yield head
      return
    }
    if (kind !== 'data') {
      yield* this.#listDirectory(kind, kind, signal)
      return
    }
    for (const fanOut of await this.#readDirectory(kind))
      if (isFanOut(fanOut)) yield* this.#listDirectory(kind, `data/${fanOut}`, signal, fanOut)
  }

  async remove(name: ObjectName, grant: RemovalGrant, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    checkRemoval(name, grant, this.#appendOnly)
    const { directory, file } = placeOf(name)
    await this.#step(name, signal, async () => {
      const path = this.#path(directory, file)
      if (!name.startsWith('locks/')) await this.#requireAge(name, path)
      if (await this.#unlink(path)) await this.#directories.sync(directory)
    })
  }

  /** Removes what writers that died have left; returns how many files. Run once when the storage starts. */
  async sweep(signal: AbortSignal): Promise<number> {
    const fanOuts = (await this.#readDirectory('data')).filter(isFanOut)
    const kinds = objectKinds.filter(kind => kind !== 'config')
    let swept = 0
    for (const directory of ['', ...kinds, ...fanOuts.map(fanOut => `data/${fanOut}`)]) {
      signal.throwIfAborted()
      for (const file of await this.#readDirectory(directory))
        if (file.startsWith(temporaryPrefix) && (await this.#sweepFile(this.#path(directory, file))))
          swept += 1
    }
    return swept
  }

  /** A file whose time is in the future is young: a clock that was set back must not shorten the grace. */
  async #requireAge(name: ObjectName, path: string): Promise<void> {
    if (this.#removalAgeMin === 0) return
    const stat = await this.#files.lstat(path).catch(error => {
      if (errnoOf(error) === 'ENOENT') return null
      throw error
    })
    if (stat === null) return
    const age = this.#environment.clock.now().getTime() - stat.mtimeMs
    if (age < this.#removalAgeMin)
      throw new StorageError('STORAGE_GRACE', `'${name}' is too young to be removed`)
  }

  /** `false` when the name is taken. A link, other than a rename, never replaces. */
  async #publish(temporary: string, final: string): Promise<boolean> {
    try {
      await this.#files.link(temporary, final)
      return true
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') return false
      throw error
    }
  }

  async #confirmSame(name: ObjectName, path: string, body: Uint8Array): Promise<void> {
    await using handle = await this.#open(path)
    if (handle === null || !(await holdsExactly(handle, body)))
      throw new StorageError('STORAGE_TAKEN', `'${name}' exists already with another content`)
    await handle.sync()
  }

  /** `null` when there is nothing, or something that is no plain file. */
  async #open(path: string): Promise<nodeFileSystem.FileHandle | null> {
    try {
      const handle = await this.#files.open(path, readFlags)
      if ((await handle.stat()).isFile()) return handle
      await handle.close()
      return null
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ELOOP') return null
      throw error
    }
  }

  async #head(name: ObjectName, path: string): Promise<ObjectHead | null> {
    try {
      const found = await this.#files.lstat(path)
      return found.isFile() ? { name, bytes: found.size } : null
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null
      throw error
    }
  }

  async *#listDirectory(
    kind: Exclude<ObjectKind, 'config'>,
    directory: string,
    signal: AbortSignal,
    fanOut?: string,
  ): AsyncIterable<ObjectHead> {
    const names = (await this.#readDirectory(directory))
      .map(file => nameOfFile(kind, file, fanOut))
      .filter(name => name !== null)
    for (let at = 0; at < names.length; at += statsAtOnce) {
      signal.throwIfAborted()
      const heads = await Promise.all(names.slice(at, at + statsAtOnce).map(name => this.head(name, signal)))
      yield* heads.filter(head => head !== null)
    }
  }

  async #readDirectory(directory: string): Promise<readonly string[]> {
    try {
      return await this.#files.readdir(this.#path(directory))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw storageErrorOf(error, `the list of '${directory}'`)
    }
  }

  /** One that cannot be looked at or removed is left to the next sweep. */
  async #sweepFile(path: string): Promise<boolean> {
    try {
      const { mtimeMs } = await this.#files.lstat(path)
      if (this.#environment.clock.now().getTime() - mtimeMs <= temporaryMillisecondsMax) return false
      return await this.#unlink(path)
    } catch {
      return false
    }
  }

  async #unlink(path: string): Promise<boolean> {
    try {
      await this.#files.unlink(path)
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw error
    }
  }

  /** Runs the system calls for one object; whatever they throw becomes a `StorageError`, except the abort's reason. */
  async #step<T>(name: ObjectName, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      signal.throwIfAborted()
      if (errnoOf(error) === 'ENOENT') this.#directories.forget()
      throw errnoOf(error) === undefined ? error : storageErrorOf(error, `'${name}'`)
    }
  }

  #temporaryName(): string {
    return `${temporaryPrefix}${toHex(this.#environment.entropy.bytes(12))}`
  }

  #path(directory: string, file = ''): string {
    return [this.#root, directory, file].filter(part => part !== '').join('/')
  }
}
