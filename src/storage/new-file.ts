import { constants } from 'node:fs'
import { KiB, MiB } from '../base/bytes.ts'
import { errnoOf } from '../base/errors.ts'
import { ignoreMissing, writeWhole } from '../base/files.ts'
import { Stage, stageBytes } from '../base/page-aligned.ts'
import type { FileSystem } from './file-system.ts'

/** Smaller files are not worth it. */
const directBytesMin = MiB
const blockBytes = 4 * KiB
const newFileFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL

/**
 * A new file with `body`, durable when it resolves. Large ones go past the page cache where the file system offers it: packs are
 * synced at once and read much later, and a fresh page costs the kernel more than the disk takes for it. Throws Node's errors.
 */
export async function writeNewFile(
  files: FileSystem,
  path: string,
  body: Uint8Array,
  mode: number,
  signal: AbortSignal,
): Promise<void> {
  if (body.byteLength >= directBytesMin) {
    if (await writeDirect(files, path, body, mode, signal)) return
    await files.unlink(path).catch(ignoreMissing)
  }
  await using handle = await files.open(path, newFileFlags, mode)
  await writeWhole(handle, body, 0)
  signal.throwIfAborted()
  // A file whose sync failed is thrown away: a second sync of it might succeed without having written anything.
  await handle.sync()
  signal.throwIfAborted()
}

/** `false`: it cannot be done; something may have been written. */
async function writeDirect(
  files: FileSystem,
  path: string,
  body: Uint8Array,
  mode: number,
  signal: AbortSignal,
): Promise<boolean> {
  using stage = new Stage()
  try {
    await using handle = await files.open(path, newFileFlags | constants.O_DIRECT, mode)
    for (let at = 0; at < body.byteLength; at += stageBytes) {
      const part = body.subarray(at, at + stageBytes)
      stage.bytes.set(part)
      const padded = Math.ceil(part.byteLength / blockBytes) * blockBytes
      // Other than through the page cache, a disk that fills up may tell only by a part that is no whole block.
      if ((await handle.write(stage.bytes, 0, padded, at)).bytesWritten < padded) return false
      signal.throwIfAborted()
    }
    await handle.truncate(body.byteLength)
    await handle.sync()
    signal.throwIfAborted()
    return true
  } catch (error) {
    if (errnoOf(error) === 'EINVAL') return false
    throw error
  }
}
