import { type FileHandle, mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises'
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

export async function syncDirectory(directory: string): Promise<void> {
  const handle: FileHandle = await open(directory)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a private directory and its parents; one that exists is left as it is. */
export async function makePrivateDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
}

/** The content of a file of at most `bytesMax`, or `null` when there is none. */
export async function readBounded(file: string, bytesMax: number): Promise<Untrusted<Uint8Array> | null> {
  try {
    const { size } = await stat(file)
    if (size > bytesMax)
      throw new BaseError(
        'STREAM_TOO_LONG',
        `${path.basename(file)} has ${size} bytes; at most ${bytesMax} are read`,
      )
    const read = await readFile(file)
    const bytes = new Uint8Array(read)
    // It may be a secret, and nobody would dispose of this copy.
    read.fill(0)
    return new Untrusted(bytes)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

export function ignoreMissing(error: unknown): void {
  if (errnoOf(error) !== 'ENOENT') throw error
}
