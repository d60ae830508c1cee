import { type FileHandle, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { CodedError, errnoOf } from '../base/errors.ts'
import { readBounded, syncDirectory } from '../base/files.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { LedgerError } from './errors.ts'

/**
 * The few things that the ledger asks of a file system, one system call or two each, so that a test can fail any of
 * them. Names are relative to the ledger's directory, with `/`; `.` is that directory. Rejections are the system's own.
 */
export interface LedgerFiles {
  /** `null` when there is none. */
  read(name: string, bytesMax: number): Promise<Untrusted<Uint8Array> | null>
  /** Makes or replaces a file and syncs its content, not its name. */
  write(name: string, bytes: Uint8Array): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** With parents; one that exists is left as it is. */
  makeDirectory(name: string): Promise<void>
  /** Makes the names in a directory durable. */
  syncDirectory(name: string): Promise<void>
  /** Empty when there is none. */
  list(name: string): Promise<readonly string[]>
  /** A file, or a directory with all that is in it; missing is no error. */
  remove(name: string): Promise<void>
}

export function diskFiles(directory: string): LedgerFiles {
  const at = (name: string) => path.join(directory, name)
  return {
    read: (name, bytesMax) => readBounded(at(name), bytesMax),
    async write(name, bytes) {
      await using handle = await openNew(at(name))
      await handle.writeFile(bytes)
      await handle.sync()
    },
    rename: (from, to) => rename(at(from), at(to)),
    async makeDirectory(name) {
      await mkdir(at(name), { recursive: true, mode: 0o700 })
      if (name === '.') await syncDirectory(path.dirname(path.resolve(directory)))
    },
    syncDirectory: name => syncDirectory(at(name)),
    list: name =>
      readdir(at(name)).catch(error => {
        if (errnoOf(error) === 'ENOENT') return []
        throw error
      }),
    remove: name => rm(at(name), { force: true, recursive: true }),
  }
}

/** A leftover of a crash is ours to replace; following a link that someone put there is not. */
async function openNew(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'wx', 0o600)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    await rm(file, { force: true })
    return await open(file, 'wx', 0o600)
  }
}

/** Directories whose own names are durable, so that no later batch makes or syncs them again. */
export type KnownDirectories = Set<string>

/**
 * Writes files so that after `settle` all of them are durable. What does not depend on each other is synced at the same
 * time: a file system that keeps a journal then has one commit for all.
 */
export class DurableBatch {
  readonly #files: LedgerFiles
  readonly #known: KnownDirectories
  readonly #made = new Set<string>(['.'])
  readonly #unsettled = new Set<string>()

  constructor(files: LedgerFiles, known: KnownDirectories = new Set()) {
    this.#files = files
    this.#known = known
  }

  /** A file that nothing refers to yet: until `settle` it may be torn. */
  async add(name: string, bytes: Uint8Array): Promise<void> {
    const directory = path.posix.dirname(name)
    await this.#makeDirectory(directory)
    await this.#files.write(name, bytes)
    this.#unsettled.add(directory)
  }

  /** A file that may be there: whoever reads it finds the old one until `replace`, then the new one. */
  async prepare(name: string, bytes: Uint8Array): Promise<void> {
    await this.#makeDirectory(path.posix.dirname(name))
    await this.#files.write(besideOf(name), bytes)
  }

  /** Puts in place what was prepared. */
  async replace(name: string): Promise<void> {
    await this.#files.rename(besideOf(name), name)
    this.#unsettled.add(path.posix.dirname(name))
  }

  async settle(): Promise<void> {
    await allDone([...this.#unsettled].map(directory => this.#files.syncDirectory(directory)))
    this.#unsettled.clear()
    for (const directory of this.#made) this.#known.add(directory)
  }

  async #makeDirectory(directory: string): Promise<void> {
    if (this.#made.has(directory) || this.#known.has(directory)) return
    const parent = path.posix.dirname(directory)
    await this.#makeDirectory(parent)
    await this.#files.makeDirectory(directory)
    this.#made.add(directory)
    this.#unsettled.add(parent)
  }
}

function besideOf(name: string): string {
  return `${name}.new`
}

/** Waits for all, also when one fails: nothing of a change goes on after it was given up. */
export async function allDone(works: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(works)).find(one => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** A refusal of the disk as an error of the ledger; any other error as it is. */
export function fileError(cause: unknown): unknown {
  const errno = cause instanceof CodedError ? undefined : errnoOf(cause)
  if (errno === undefined) return cause
  return errno === 'ENOSPC' || errno === 'EDQUOT'
    ? new LedgerError('LEDGER_FULL', `the disk of the ledger is full (${errno})`, { cause })
    : new LedgerError('LEDGER_WRITE', `a file of the ledger could not be read or written (${errno})`, {
        cause,
      })
}
