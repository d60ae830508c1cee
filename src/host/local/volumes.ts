import { type BigIntStats, constants } from 'node:fs'
import { copyFile, type FileHandle, open, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { toHex } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import { errnoOf } from '../../base/errors.ts'
import type { VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import type { Extent, FrozenVm, FrozenVolume, VolumeSource } from '../volumes.ts'
import { readVmFile, type VolumeFile, volumeFiles } from './vm-file.ts'

/*
 * Freezing a plain file. Where the file system can share blocks (btrfs, XFS), a reflink copy is the frozen moment, made
 * at once and atomically. Elsewhere the file itself is read, and thawing proves that it stayed the same meanwhile.
 */

export function localVolumes(root: string, entropy: Entropy): VolumeSource {
  return {
    async freeze(vm, signal) {
      const file = await readVmFile(root, vm)
      if (file === null) throw new HostError('VM_MISSING', `there is no VM ${vm}`)
      const frozen: FrozenFile[] = []
      try {
        for (const volume of await volumeFiles(root, vm, file)) {
          signal.throwIfAborted()
          frozen.push(await freezeFile(vm, volume, entropy))
        }
      } catch (error) {
        await Promise.allSettled(frozen.map(one => one.release()))
        throw error
      }
      return frozenVm(vm, frozen)
    },
  }
}

interface FrozenFile {
  readonly volume: FrozenVolume
  /** Throws `VOLUME_CHANGED`. */
  verify(): Promise<void>
  release(): Promise<void>
}

function frozenVm(vm: VmName, frozen: readonly FrozenFile[]): FrozenVm {
  return {
    vm,
    volumes: frozen.map(({ volume }) => volume),
    async [Symbol.asyncDispose]() {
      const verdicts = await Promise.allSettled(frozen.map(one => one.verify()))
      await Promise.allSettled(frozen.map(one => one.release()))
      const failed = verdicts.find(verdict => verdict.status === 'rejected')
      if (failed) throw failed.reason
    },
  }
}

async function freezeFile(
  vm: VmName,
  { name, path: source }: VolumeFile,
  entropy: Entropy,
): Promise<FrozenFile> {
  const copy = path.join(path.dirname(source), `.frozen-${name}-${toHex(entropy.bytes(8))}`)
  const copied = await reflink(source, copy)
  const location = copied ? copy : source
  let handle: FileHandle
  try {
    handle = await open(location, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (cause) {
    if (copied) await unlink(copy)
    throw new HostError('VOLUME_MISSING', `volume ${name} of ${vm} cannot be opened`, { cause })
  }
  const before = await handle.stat({ bigint: true })
  return {
    volume: frozenVolume(name, location, handle, Number(before.size)),
    async verify() {
      if (copied) return
      // By handle and by path: a file put in the place of the one that was read is a change too.
      for (const now of [
        await handle.stat({ bigint: true }),
        await stat(source, { bigint: true }).catch(() => null),
      ])
        if (now === null || markOf(now) !== markOf(before))
          throw new HostError('VOLUME_CHANGED', `volume ${name} of ${vm} changed while it was being read`)
    },
    async release() {
      await handle.close()
      if (copied) await unlink(copy)
    },
  }
}

function markOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

/** `false` where the file system shares no blocks. */
async function reflink(source: string, copy: string): Promise<boolean> {
  try {
    await copyFile(source, copy, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL)
    return true
  } catch (error) {
    await unlink(copy).catch(() => {})
    if (errnoOf(error) === 'ENOENT')
      throw new HostError('VOLUME_MISSING', 'the volume is gone', { cause: error })
    return false
  }
}

function frozenVolume(name: string, location: string, handle: FileHandle, bytes: number): FrozenVolume {
  return {
    name,
    bytes,
    path: location,
    async *extents(): AsyncIterable<Extent> {
      // Node has no SEEK_HOLE; `data` is always right, and runs of zeros are found by whoever reads.
      if (bytes > 0) yield { kind: 'data', offset: 0, length: bytes }
    },
    async read(into, offset) {
      for (let at = 0; at < into.byteLength; ) {
        const { bytesRead } = await handle.read(into, at, into.byteLength - at, offset + at).catch(cause => {
          throw new HostError('VOLUME_READ', `volume ${name} at ${offset + at}: ${errnoOf(cause)}`, { cause })
        })
        if (bytesRead === 0)
          throw new HostError(
            'VOLUME_READ',
            `volume ${name} ends at ${offset + at}; ${into.byteLength} bytes at ${offset} were expected`,
          )
        at += bytesRead
      }
    },
  }
}
