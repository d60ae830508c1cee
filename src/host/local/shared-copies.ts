import { constants } from 'node:fs'
import { copyFile, type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { toHex } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import { ignoreMissing, makePrivateDirectory, syncDirectory } from '../../base/files.ts'
import { fields, is } from '../../base/json.ts'
import { parseVmName, type VmName } from '../../base/names.ts'
import { parseVolumeName } from './vm-file.ts'

/*
 * Copies of volumes that share their blocks with the original (reflinks of XFS and btrfs): made at once, at one moment,
 * taking room only as the original changes. In dom0's own directory, one directory a VM:
 *
 *   <volume>-<16 hex>.frozen   belongs to a backup in progress; a leftover of a crash if none is
 *   <volume>-<16 hex>.base     what the last committed backup read; one of each volume
 *
 * The directory must be on the file system of the volumes. Nothing is ever written into a copy.
 */

/** Which copy it was, and that it is still that one: also an exact duplicate is another file. */
export interface CopyMark {
  readonly id: string
  readonly ino: string
  readonly bytes: number
  readonly made: string
}

export const parseCopyMark = fields('copy', {
  id: is.string(16),
  ino: is.string(20),
  bytes: is.integer(),
  made: is.string(50),
})

export interface SharedCopy {
  readonly path: string
  readonly handle: FileHandle
  readonly mark: CopyMark
}

export class SharedCopies {
  readonly #directory: string
  readonly #entropy: Entropy
  readonly #hasVolume: (vm: VmName, volume: string) => Promise<boolean>
  #swept: Promise<void> | null = null

  /** `hasVolume`: is there such a volume? Copies of others are removed. */
  constructor(
    directory: string,
    entropy: Entropy,
    hasVolume: (vm: VmName, volume: string) => Promise<boolean>,
  ) {
    this.#directory = directory
    this.#entropy = entropy
    this.#hasVolume = hasVolume
  }

  /** A copy of an open file; `null` where the file system shares no blocks with the directory. */
  async make(source: FileHandle, vm: VmName, volume: string): Promise<SharedCopy | null> {
    const id = toHex(this.#entropy.bytes(8))
    const file = this.#file(vm, volume, id, 'frozen')
    try {
      this.#swept ??= this.#sweep()
      await this.#swept
      await makePrivateDirectory(path.dirname(file))
      const flags = constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL
      // Whatever happens to the name meanwhile: what is open is what is copied.
      await copyFile(`/proc/self/fd/${source.fd}`, file, flags)
      const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
      return { path: file, handle, mark: await markOf(handle, id) }
    } catch {
      await unlink(file).catch(() => {})
      return null
    }
  }

  /** Lets go of a copy that is not kept. */
  async drop(vm: VmName, volume: string, { id }: CopyMark): Promise<void> {
    await unlink(this.#file(vm, volume, id, 'frozen')).catch(ignoreMissing)
  }

  /** Makes a copy the one to compare with, and removes the one before. */
  async keep(vm: VmName, volume: string, { id }: CopyMark): Promise<void> {
    const file = this.#file(vm, volume, id, 'frozen')
    const directory = path.dirname(file)
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(file, this.#file(vm, volume, id, 'base'))
    await syncDirectory(directory)
    for (const name of await readdir(directory)) {
      const other = parseCopyName(name)
      if (other?.volume === volume && other.kind === 'base' && other.id !== id)
        await unlink(path.join(directory, name)).catch(ignoreMissing)
    }
  }

  /** The kept copy with this mark, open; `null` if it is not there, or not the same any more. */
  async open(vm: VmName, volume: string, mark: CopyMark): Promise<FileHandle | null> {
    if (!/^[0-9a-f]{16}$/.test(mark.id)) return null
    let handle: FileHandle
    try {
      const file = this.#file(vm, volume, mark.id, 'base')
      handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
    } catch {
      return null
    }
    const { ino, bytes, made } = await markOf(handle, mark.id)
    if (ino === mark.ino && bytes === mark.bytes && made === mark.made) return handle
    await handle.close()
    return null
  }

  /** Once, before the first copy: leftovers of a process that is no more, and copies of volumes that are no more. */
  async #sweep(): Promise<void> {
    await makePrivateDirectory(this.#directory)
    for (const vm of await readdir(this.#directory)) {
      const directory = path.join(this.#directory, vm)
      for (const name of await readdir(directory)) {
        const copy = parseCopyName(name)
        if (copy === null) continue
        const wanted = copy.kind === 'base' && (await this.#hasVolume(parseVmName(vm), copy.volume))
        if (!wanted) await unlink(path.join(directory, name)).catch(ignoreMissing)
      }
    }
  }

  #file(vm: VmName, volume: string, id: string, kind: 'frozen' | 'base'): string {
    return path.join(this.#directory, vm, `${parseVolumeName(volume)}-${id}.${kind}`)
  }
}

async function markOf(handle: FileHandle, id: string): Promise<CopyMark> {
  const { ino, size, mtimeNs, birthtimeNs } = await handle.stat({ bigint: true })
  return { id, ino: String(ino), bytes: Number(size), made: `${birthtimeNs} ${mtimeNs}` }
}

function parseCopyName(
  name: string,
): { readonly volume: string; readonly id: string; readonly kind: string } | null {
  const [, volume, id, kind] = /^([a-z][a-z0-9_-]*)-([0-9a-f]{16})\.(frozen|base)$/.exec(name) ?? []
  return volume === undefined || id === undefined || kind === undefined ? null : { volume, id, kind }
}
