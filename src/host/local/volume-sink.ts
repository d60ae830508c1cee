import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { byteRangeText } from '../../base/byte-range.ts'
import { CodedError, errnoOf } from '../../base/errors.ts'
import { makePrivateDirectory, readWhole, syncDirectory, writeWhole } from '../../base/files.ts'
import { pageBytesMax, Stage, stageBytes } from '../../base/page-aligned.ts'
import { HostError } from '../errors.ts'
import type { NewVolume, NewVolumeName, ReadEarlier, VolumeSink } from '../volumes.ts'
import { parseVolumeName } from './vm-file.ts'

export interface SinkPlaces {
  /** Where the volumes appear; must not exist. */
  readonly directory: string
  /** Where they are written until then, on the same file system. */
  readonly beside: string
  /** Whether `beside` is gone on with, and kept for another restore that will. */
  readonly resumable: boolean
  /** The directory of an earlier restore. */
  readonly reuse: string | null
}

/**
 * New volumes as `<vm>/<volume>.img`, ranges as `<vm>/<volume>.<offset>+<length>.img`, sparse, mode 0600. They are written
 * beside, and the commit renames: all appear or none, also when the process is killed, and nothing is ever replaced.
 */
export function localVolumeSink(places: SinkPlaces): VolumeSink {
  return new LocalVolumeSink(places)
}

class LocalVolumeSink implements VolumeSink {
  readonly #places: SinkPlaces
  /** By their paths below the directory. */
  readonly #volumes = new Map<string, LocalVolume>()
  #state: 'new' | 'open' | 'ended' = 'new'

  constructor(places: SinkPlaces) {
    this.#places = places
  }

  async create(name: NewVolumeName, bytes: number, signal: AbortSignal): Promise<NewVolume> {
    signal.throwIfAborted()
    const file = fileOf(name)
    const what = `volume ${name.volume} of ${name.vm}`
    return await withHostErrors(what, async () => {
      if (this.#state === 'new') await this.#begin()
      if (this.#volumes.has(file)) throw new HostError('VOLUME_EXISTS', `${what} is there already`)
      await makePrivateDirectory(path.join(this.#places.beside, name.vm))
      const beside = path.join(this.#places.beside, file)
      const { handle, isNew } = await openOrCreate(beside)
      const created = new LocalVolume({ handle, direct: await openDirect(beside) }, what, bytes, isNew)
      this.#volumes.set(file, created)
      await handle.truncate(bytes)
      await created.reuse(this.#places.reuse === null ? null : path.join(this.#places.reuse, file))
      return created
    })
  }

  async commit(): Promise<void> {
    await withHostErrors('a restore', async () => {
      const { directory, beside } = this.#places
      if (this.#state === 'new') await this.#begin()
      await this.#removeOthers()
      for (const volume of this.#volumes.values()) await volume.finish()
      for (const vm of this.#vms()) await syncDirectory(path.join(beside, vm))
      await syncDirectory(beside)
      // rename(2) would replace an empty directory.
      if (await isThere(directory)) throw new HostError('VOLUME_EXISTS', 'the restore is there already')
      await rename(beside, directory)
      this.#state = 'ended'
      await syncDirectory(path.dirname(directory))
    })
  }

  async discard(): Promise<void> {
    await this.#close()
    if (this.#state === 'open') await rm(this.#places.beside, { recursive: true, force: true })
    this.#state = 'ended'
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const written = [...this.#volumes.values()].some(({ holdsSomething }) => holdsSomething)
    if (!this.#places.resumable || !written) return await this.discard()
    await this.#close()
  }

  async #begin(): Promise<void> {
    const { directory, beside, resumable } = this.#places
    if (await isThere(directory)) throw new HostError('VOLUME_EXISTS', 'the restore is there already')
    if (resumable) await makePrivateDirectory(beside)
    else await mkdir(beside, { mode: 0o700 })
    this.#state = 'open'
  }

  /** What an earlier restore has left and this one was not to make. */
  async #removeOthers(): Promise<void> {
    const { beside } = this.#places
    const vms = this.#vms()
    for (const vm of await readdir(beside)) {
      const files = vms.has(vm) ? await readdir(path.join(beside, vm)) : []
      const others = vms.has(vm)
        ? files.map(file => path.join(vm, file)).filter(file => !this.#volumes.has(file))
        : [vm]
      for (const other of others) await rm(path.join(beside, other), { recursive: true, force: true })
    }
  }

  #vms(): ReadonlySet<string> {
    return new Set([...this.#volumes.keys()].map(path.dirname))
  }

  async #close(): Promise<void> {
    for (const volume of this.#volumes.values()) await volume.close()
  }
}

interface VolumeHandles {
  readonly handle: FileHandle
  readonly direct: FileHandle | null
}

class LocalVolume implements NewVolume {
  readonly left: ReadEarlier | null
  reusable: ReadEarlier | null = null
  readonly #handle: FileHandle
  /** Past the page cache: see `DirectFile`, which does the same for threads. */
  #direct: FileHandle | null
  readonly #what: string
  readonly #bytes: number
  #earlier: FileHandle | null = null
  #written = false
  #open = true

  constructor({ handle, direct }: VolumeHandles, what: string, bytes: number, isNew: boolean) {
    this.#handle = handle
    this.#direct = direct
    this.#what = what
    this.#bytes = bytes
    this.left = isNew ? null : (into, offset) => this.#read(handle, into, offset)
  }

  get holdsSomething(): boolean {
    return this.#written || this.left !== null
  }

  /** The same volume in an earlier restore, if that has it. */
  async reuse(file: string | null): Promise<void> {
    const earlier = file === null ? null : await openIfThere(file)
    if (earlier === null) return
    this.#earlier = earlier
    this.reusable = (into, offset) => this.#read(earlier, into, offset)
  }

  async write(part: Uint8Array, offset: number): Promise<void> {
    if (offset < 0 || offset + part.byteLength > this.#bytes)
      throw new HostError(
        'VOLUME_WRITE',
        `${this.#what}: ${part.byteLength} bytes at ${offset} lie outside its ${this.#bytes}`,
      )
    this.#written = true
    await withHostErrors(this.#what, async () => {
      const written = await this.#writeDirectly(part, offset)
      await writeWhole(this.#handle, part.subarray(written), offset + written)
    })
  }

  async finish(): Promise<void> {
    await withHostErrors(this.#what, () => this.#handle.sync())
    await this.close()
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#earlier?.close()
    await this.#direct?.close()
    await this.#handle.close()
  }

  /** How many bytes of it were; what is no whole pages is left to the page cache, and everything where it is not offered. */
  async #writeDirectly(part: Uint8Array, offset: number): Promise<number> {
    if (offset % pageBytesMax !== 0) return 0
    using stage = new Stage()
    const end = part.byteLength - (part.byteLength % pageBytesMax)
    for (let at = 0; at < end; ) {
      if (this.#direct === null) return at
      const length = Math.min(stageBytes, end - at)
      stage.bytes.set(part.subarray(at, at + length))
      const written = await this.#direct.write(stage.bytes, 0, length, offset + at).catch(ignoreRefusal)
      at += written?.bytesWritten ?? 0
      if (written?.bytesWritten !== length) {
        await this.#direct.close()
        this.#direct = null
      }
    }
    return end
  }

  /** What cannot be read is not taken over, and fetched as if it were not there. */
  async #read(from: FileHandle, into: Uint8Array, offset: number): Promise<boolean> {
    return await readWhole(from, into, offset).catch(() => false)
  }
}

function fileOf({ vm, volume, range }: NewVolumeName): string {
  const name = parseVolumeName(volume)
  return path.join(vm, range === null ? `${name}.img` : `${name}.${byteRangeText(range)}.img`)
}

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_WRONLY } = constants

async function openOrCreate(file: string): Promise<{ handle: FileHandle; isNew: boolean }> {
  try {
    return { handle: await open(file, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600), isNew: true }
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
    return { handle: await open(file, O_RDWR | O_NOFOLLOW), isNew: false }
  }
}

async function openDirect(file: string): Promise<FileHandle | null> {
  return (await open(file, O_WRONLY | O_NOFOLLOW | O_DIRECT).catch(ignoreRefusal)) ?? null
}

/** Not every file system can. */
function ignoreRefusal(error: unknown): void {
  if (errnoOf(error) !== 'EINVAL') throw error
}

async function openIfThere(file: string): Promise<FileHandle | null> {
  try {
    return await open(file, O_RDONLY | O_NOFOLLOW)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null
    throw error
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
