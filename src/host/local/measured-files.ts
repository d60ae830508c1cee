import { type BigIntStats, constants } from 'node:fs'
import { lstat, open, readdir, readlink, statfs } from 'node:fs/promises'
import path from 'node:path'
import { GiB, MiB } from '../../base/bytes.ts'
import type { Clock } from '../../base/environment.ts'
import { errnoOf } from '../../base/errors.ts'
import type { Digest } from '../../base/names.ts'
import { Sha256 } from '../../crypto/digest.ts'
import { compareNames, TreeDigest } from '../../crypto/tree-digest.ts'
import { HostError } from '../errors.ts'
import { fingerprintOf, identityOf } from './fingerprint.ts'

/* Digests of trees of files in dom0. A file that nobody has written to since it was read is not read again. */

export interface MeasuredFiles {
  readonly digest: Digest
  readonly files: number
  readonly bytes: number
  /** Of files that were read now. */
  readonly bytesRead: number
}

export interface FileMeasurerOptions {
  readonly clock: Clock
  /** Of the running kernel; `null`: nothing is known from before. */
  readonly boot: string | null
  readonly limits?: { readonly entriesMax: number; readonly bytesMax: number }
  /** `f_type` of what a file is on. */
  readonly fileSystemOf?: (file: string) => Promise<bigint>
}

interface KnownFile {
  readonly fingerprint: string
  readonly digest: Digest
}

const limitsDefault = { entriesMax: 200_000, bytesMax: 8 * GiB }
const openFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

export class FileMeasurer {
  readonly #options: FileMeasurerOptions
  /** Of each root, the files that were there the last time: so it never holds more than there is. */
  readonly #known = new Map<string, ReadonlyMap<string, KnownFile>>()

  constructor(options: FileMeasurerOptions) {
    this.#options = options
  }

  /**
   * Everything below `root`, or below the named entries of it; one of them that does not exist is left out. Throws
   * `FILES_LIMIT`, `FILES_CHANGED`, `FILES_ODD`, Node's errors, or the signal's reason.
   */
  async measure(root: string, only: readonly string[] | null, signal: AbortSignal): Promise<MeasuredFiles> {
    const place = JSON.stringify([root, only])
    const walk = new Walk(this.#options, this.#known.get(place) ?? new Map(), signal)
    const top = only === null ? await readdir(root) : await there(root, only)
    await walk.entries(root, '', top)
    this.#known.set(place, walk.found)
    return walk.finish()
  }
}

async function there(root: string, names: readonly string[]): Promise<string[]> {
  const all = new Set(await readdir(root))
  return names.filter(name => all.has(name))
}

/** One look at a tree. */
class Walk {
  readonly found = new Map<string, KnownFile>()
  readonly #options: FileMeasurerOptions
  readonly #known: ReadonlyMap<string, KnownFile>
  readonly #signal: AbortSignal
  readonly #digest = new TreeDigest()
  readonly #fileSystems = new Map<bigint, bigint>()
  #entries = 0
  #files = 0
  #bytes = 0
  #bytesRead = 0

  constructor(options: FileMeasurerOptions, known: ReadonlyMap<string, KnownFile>, signal: AbortSignal) {
    this.#options = options
    this.#known = known
    this.#signal = signal
  }

  async entries(directory: string, folder: string, names: readonly string[]): Promise<void> {
    for (const name of names.toSorted(compareNames)) {
      this.#signal.throwIfAborted()
      // Two names that are not UTF-8 could look the same.
      if (name.includes('\ufffd')) throw new HostError('FILES_ODD', 'a name that is not UTF-8')
      await this.#entry(path.join(directory, name), folder === '' ? name : `${folder}/${name}`)
    }
  }

  finish(): MeasuredFiles {
    const { bytesMax } = this.#limits
    if (this.#bytes > bytesMax) throw tooMuch(`${this.#bytes} bytes; at most ${bytesMax}`)
    return {
      digest: this.#digest.finish(),
      files: this.#files,
      bytes: this.#bytes,
      bytesRead: this.#bytesRead,
    }
  }

  get #limits() {
    return this.#options.limits ?? limitsDefault
  }

  async #entry(place: string, own: string): Promise<void> {
    const { entriesMax, bytesMax } = this.#limits
    this.#entries += 1
    if (this.#entries > entriesMax) throw tooMuch(`more than ${entriesMax} entries`)
    const found = await orChanged(() => lstat(place, { bigint: true }))
    if (found.isDirectory()) {
      this.#digest.directory(own)
      await this.entries(place, own, await orChanged(() => readdir(place)))
    } else if (found.isSymbolicLink()) this.#digest.link(own, await orChanged(() => readlink(place)))
    else if (!found.isFile()) throw new HostError('FILES_ODD', 'a device, a socket or a pipe')
    else {
      this.#files += 1
      this.#bytes += Number(found.size)
      if (this.#bytes > bytesMax) throw tooMuch(`more than ${bytesMax} bytes`)
      const executable = (found.mode & 0o100n) !== 0n
      const digest = await this.#file(place, own, found)
      this.#digest.file(own, { executable, bytes: Number(found.size), digest })
    }
  }

  async #file(place: string, own: string, found: BigIntStats): Promise<Digest> {
    const before = this.#known.get(own)
    if (before !== undefined && before.fingerprint === (await this.#fingerprint(place, found))) {
      this.found.set(own, before)
      return before.digest
    }
    const handle = await orChanged(() => open(place, openFlags))
    try {
      // What sits in page caches only may not show in times; see fingerprint.ts.
      const isSynced = await handle.sync().then(
        () => true,
        () => false,
      )
      const now = await handle.stat({ bigint: true })
      const fingerprint = isSynced ? await this.#fingerprint(place, now) : null
      const digest = new Sha256()
      const part = new Uint8Array(Math.min(MiB, Math.max(1, Number(now.size))))
      let bytes = 0
      for (;;) {
        const { bytesRead } = await handle.read(part, 0, part.byteLength)
        if (bytesRead === 0) break
        this.#signal.throwIfAborted()
        bytes += bytesRead
        if (bytes > Number(found.size)) break
        digest.update(part.subarray(0, bytesRead))
      }
      const after = await handle.stat({ bigint: true })
      if (identityOf(found) !== identityOf(now) || identityOf(now) !== identityOf(after)) throw changed()
      this.#bytesRead += bytes
      const whole = digest.finish()
      if (fingerprint !== null) this.found.set(own, { fingerprint, digest: whole })
      return whole
    } finally {
      await handle.close()
    }
  }

  async #fingerprint(place: string, found: BigIntStats): Promise<string | null> {
    const { clock, boot, fileSystemOf = typeOf } = this.#options
    const fileSystem = this.#fileSystems.get(found.dev) ?? (await fileSystemOf(place))
    this.#fileSystems.set(found.dev, fileSystem)
    return fingerprintOf(found, { fileSystem, now: clock.now(), boot })
  }
}

async function typeOf(file: string): Promise<bigint> {
  return (await statfs(file, { bigint: true })).type
}

/** What was listed a moment ago and is something else now. */
async function orChanged<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL', 'ENXIO'].includes(errnoOf(cause) ?? '')) throw changed(cause)
    throw cause
  }
}

function changed(cause?: unknown): HostError {
  return new HostError('FILES_CHANGED', 'files changed while they were measured', { cause, retry: true })
}

function tooMuch(found: string): HostError {
  return new HostError('FILES_LIMIT', `${found} are measured`)
}
