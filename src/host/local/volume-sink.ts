import { type FileHandle, link, lstat, open, unlink } from 'node:fs/promises'
import path from 'node:path'
import { toHex } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import { CodedError, errnoOf } from '../../base/errors.ts'
import { makePrivateDirectory, syncDirectory, writeWhole } from '../../base/files.ts'
import type { VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import type { NewVolume, VolumeSink } from '../volumes.ts'
import { parseVolumeName } from './vm-file.ts'

/**
 * New volumes as `<root>/<vm>/<volume>.img`, sparse, written beside and linked into place, so that nothing is ever
 * replaced: a name that is taken throws `VOLUME_EXISTS`, at the start and again at the commit.
 */
export function localVolumeSink(root: string, entropy: Entropy): VolumeSink {
  return {
    async create(vm, volume, bytes, signal) {
      signal.throwIfAborted()
      const file = path.join(root, vm, `${parseVolumeName(volume)}.img`)
      const what = `volume ${volume} of ${vm}`
      if (await isThere(file)) throw new HostError('VOLUME_EXISTS', `${what} is there already`)
      const beside = path.join(root, vm, `.restore-${volume}-${toHex(entropy.bytes(8))}`)
      try {
        await makeVmDirectory(root, vm)
        const handle = await open(beside, 'wx', 0o600)
        try {
          await handle.truncate(bytes)
        } catch (error) {
          await handle.close()
          await unlink(beside)
          throw error
        }
        return newVolume(handle, { beside, file, what, bytes })
      } catch (error) {
        throw writeError(error, what)
      }
    },
  }
}

interface Place {
  readonly beside: string
  readonly file: string
  readonly what: string
  readonly bytes: number
}

function newVolume(handle: FileHandle, { beside, file, what, bytes }: Place): NewVolume {
  let open = true
  return {
    async write(part, offset) {
      if (offset < 0 || offset + part.byteLength > bytes)
        throw new HostError(
          'VOLUME_WRITE',
          `${what}: ${part.byteLength} bytes at ${offset} lie outside its ${bytes}`,
        )
      try {
        await writeWhole(handle, part, offset)
      } catch (error) {
        throw writeError(error, what)
      }
    },
    async commit() {
      try {
        await handle.sync()
        await link(beside, file)
        await syncDirectory(path.dirname(file))
      } catch (error) {
        throw writeError(error, what)
      }
    },
    async [Symbol.asyncDispose]() {
      if (!open) return
      open = false
      await handle.close()
      await unlink(beside)
    },
  }
}

async function makeVmDirectory(root: string, vm: VmName): Promise<void> {
  const directory = path.join(root, vm)
  if (await isThere(directory)) return
  await makePrivateDirectory(directory)
  await syncDirectory(root)
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

function writeError(error: unknown, what: string): Error {
  if (error instanceof CodedError) return error
  const errno = errnoOf(error) ?? 'unknown error'
  if (errno === 'EEXIST') return new HostError('VOLUME_EXISTS', `${what} is there already`, { cause: error })
  if (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EFBIG')
    return new HostError('VOLUME_FULL', `no room for ${what} (${errno})`, { cause: error })
  return new HostError('VOLUME_WRITE', `${what} (${errno})`, { cause: error })
}
