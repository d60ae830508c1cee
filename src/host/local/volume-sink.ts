import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { CodedError, errnoOf } from '../../base/errors.ts'
import { syncDirectory, writeWhole } from '../../base/files.ts'
import type { VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import type { NewVolume, VolumeSink } from '../volumes.ts'
import { parseVolumeName } from './vm-file.ts'

const unfinishedPrefix = '.restore-'

/**
 * New volumes as `<directory>/<vm>/<volume>.img`, sparse, mode 0600. They are written beside, into `.restore-<name>`, which
 * the commit renames: all appear or none, also when the process is killed, and nothing is ever replaced. `directory`
 * must not exist.
 */
export function localVolumeSink(directory: string): VolumeSink {
  return new LocalVolumeSink(directory)
}

/**
 * Removes what restores that died with an earlier process have left below `parent`: plaintext that nobody will ask for.
 * To be called before the first restore.
 */
export async function sweepUnfinished(parent: string): Promise<readonly string[]> {
  const left = (await readdir(parent)).filter(name => name.startsWith(unfinishedPrefix))
  for (const name of left) await rm(path.join(parent, name), { recursive: true, force: true })
  if (left.length > 0) await syncDirectory(parent)
  return left
}

class LocalVolumeSink implements VolumeSink {
  readonly #directory: string
  readonly #beside: string
  readonly #volumes: LocalVolume[] = []
  /** Of the VMs that have a volume. */
  readonly #vms = new Set<VmName>()
  #state: 'new' | 'open' | 'committed' = 'new'

  constructor(directory: string) {
    this.#directory = directory
    this.#beside = path.join(path.dirname(directory), `${unfinishedPrefix}${path.basename(directory)}`)
  }

  async create(vm: VmName, volume: string, bytes: number, signal: AbortSignal): Promise<NewVolume> {
    signal.throwIfAborted()
    const file = path.join(this.#beside, vm, `${parseVolumeName(volume)}.img`)
    const what = `volume ${volume} of ${vm}`
    return await withHostErrors(what, async () => {
      if (this.#state === 'new') await this.#begin()
      if (!this.#vms.has(vm)) {
        await mkdir(path.dirname(file), { mode: 0o700 })
        this.#vms.add(vm)
      }
      const handle = await open(file, 'wx', 0o600)
      const created = new LocalVolume(handle, what, bytes)
      this.#volumes.push(created)
      await handle.truncate(bytes)
      return created
    })
  }

  async commit(): Promise<void> {
    await withHostErrors('a restore', async () => {
      if (this.#state === 'new') await this.#begin()
      for (const volume of this.#volumes) await volume.finish()
      for (const vm of this.#vms) await syncDirectory(path.join(this.#beside, vm))
      await syncDirectory(this.#beside)
      // rename(2) would replace an empty directory.
      if (await isThere(this.#directory)) throw new HostError('VOLUME_EXISTS', 'the restore is there already')
      await rename(this.#beside, this.#directory)
      this.#state = 'committed'
      await syncDirectory(path.dirname(this.#directory))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const volume of this.#volumes) await volume.close()
    if (this.#state === 'open') await rm(this.#beside, { recursive: true, force: true })
  }

  async #begin(): Promise<void> {
    if (await isThere(this.#directory)) throw new HostError('VOLUME_EXISTS', 'the restore is there already')
    await mkdir(this.#beside, { mode: 0o700 })
    this.#state = 'open'
  }
}

class LocalVolume implements NewVolume {
  readonly #handle: FileHandle
  readonly #what: string
  readonly #bytes: number
  #open = true

  constructor(handle: FileHandle, what: string, bytes: number) {
    this.#handle = handle
    this.#what = what
    this.#bytes = bytes
  }

  async write(part: Uint8Array, offset: number): Promise<void> {
    if (offset < 0 || offset + part.byteLength > this.#bytes)
      throw new HostError(
        'VOLUME_WRITE',
        `${this.#what}: ${part.byteLength} bytes at ${offset} lie outside its ${this.#bytes}`,
      )
    await withHostErrors(this.#what, () => writeWhole(this.#handle, part, offset))
  }

  async finish(): Promise<void> {
    await withHostErrors(this.#what, () => this.#handle.sync())
    await this.close()
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#handle.close()
  }
}

async function isThere(file: string): Promise<boolean> {
  try {
    await lstat(file)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

async function withHostErrors<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof CodedError) throw error
    const errno = errnoOf(error) ?? 'unknown error'
    if (errno === 'EEXIST') throw new HostError('VOLUME_EXISTS', `${what} is there already`, { cause: error })
    if (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EFBIG')
      throw new HostError('VOLUME_FULL', `no room for ${what} (${errno})`, { cause: error })
    throw new HostError('VOLUME_WRITE', `${what} (${errno})`, { cause: error })
  }
}
