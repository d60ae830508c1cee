import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { BaseError } from './base-errors.ts'
import { errnoOf } from './errors.ts'
import { Untrusted } from './untrusted.ts'

/**
 * Replaces a small file so that a crash leaves the old content or the new: written beside, synced, renamed, and the
 * directory synced. The directory must exist. Not for two writers of one path at once.
 */
export async function writeDurably(file: string, bytes: Uint8Array, mode = 0o600): Promise<void> {
  const beside = `${file}.new`
  try {
    // A leftover of a crash is ours to replace; following a link that someone put there is not.
    await unlink(beside).catch(ignoreMissing)
    const handle = await open(beside, 'wx', mode)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, file)
  } catch (error) {
    await unlink(beside).catch(() => {})
    throw error
  }
  await syncDirectory(path.dirname(file))
}

/** All of `bytes` at `position`: one write may take less, above all when the disk is nearly full. */
export async function writeWhole(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength; )
    at += (await handle.write(bytes, at, bytes.byteLength - at, position + at)).bytesWritten
}

/** Fills `into` from `position`; `false` when the file ends before. */
export async function readWhole(handle: FileHandle, into: Uint8Array, position: number): Promise<boolean> {
  for (let at = 0; at < into.byteLength; ) {
    const { bytesRead } = await handle.read(into, at, into.byteLength - at, position + at)
    if (bytesRead === 0) return false
    at += bytesRead
  }
  return true
}

export async function syncDirectory(directory: string): Promise<void> {
  const handle: FileHandle = await open(directory)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Makes a private directory and its parents; one that exists is left as it is. Without Node's `recursive`, which never ends
 * where a parent is there and takes no directories, as in /proc. Throws Node's errors.
 */
export async function makePrivateDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    const parent = path.dirname(directory)
    if (errnoOf(error) === 'ENOENT' && parent !== directory) {
      await makePrivateDirectory(parent)
      await mkdir(directory, { mode: 0o700 }).catch(again => {
        // Somebody else made it meanwhile.
        if (errnoOf(again) !== 'EEXIST') throw again
      })
    } else if (errnoOf(error) !== 'EEXIST' || !(await stat(directory)).isDirectory()) throw error
  }
}

/** O_NONBLOCK: a pipe in the place of a file must not hold whoever opens it. */
const readFlags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * The content of a plain file of at most `bytesMax`, or `null` when there is none. Whoever can write the directory may put
 * something else there: a pipe or device is refused, and what grows while it is read is not read on. Throws
 * `FIELD_INVALID`, `STREAM_TOO_LONG`, or Node's errors.
 */
export async function readBounded(file: string, bytesMax: number): Promise<Untrusted<Uint8Array> | null> {
  let handle: FileHandle
  try {
    handle = await open(file, readFlags)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  try {
    const found = await handle.stat()
    const name = path.basename(file)
    if (!found.isFile()) throw new BaseError('FIELD_INVALID', `${name} is no plain file`)
    if (found.size > bytesMax)
      throw new BaseError('STREAM_TOO_LONG', `${name} has ${found.size} bytes; at most ${bytesMax} are read`)
    const bytes = new Uint8Array(found.size)
    // It may be a secret, and nobody would dispose of a second copy: one of the right length is the whole content.
    if (await readWhole(handle, bytes, 0)) return new Untrusted(bytes)
    bytes.fill(0)
    throw new BaseError('STREAM_ENDED', `${name} became shorter while it was read`)
  } finally {
    await handle.close()
  }
}

export function ignoreMissing(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error
}
