import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
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
      // A leftover of a crash is ours to replace; following a link that someone put there is not.
      await rm(at(name), { force: true })
      await using handle = await open(at(name), 'wx', 0o600)
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

/**
 * Writes files so that after `settle` all of them are durable, and before it each is the old one or the new one. The
 * directories are synced once, however many files went into them.
 */
export class DurableBatch {
  readonly #files: LedgerFiles
  readonly #made = new Set<string>(['.'])
  readonly #unsettled = new Set<string>()

  constructor(files: LedgerFiles) {
    this.#files = files
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.#makeDirectory(path.posix.dirname(name))
    const beside = `${name}.new`
    await this.#files.write(beside, bytes)
    await this.#files.rename(beside, name)
    this.#unsettled.add(path.posix.dirname(name))
  }

  async settle(): Promise<void> {
    for (const directory of this.#unsettled) await this.#files.syncDirectory(directory)
    this.#unsettled.clear()
  }

  async #makeDirectory(directory: string): Promise<void> {
    if (this.#made.has(directory)) return
    const parent = path.posix.dirname(directory)
    await this.#makeDirectory(parent)
    await this.#files.makeDirectory(directory)
    this.#made.add(directory)
    this.#unsettled.add(parent)
  }
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
