import { open, statfs, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { KiB } from '../../base/bytes.ts'
import { writeWhole } from '../../base/files.ts'
import { isZero, type Region } from './region.ts'

const blockBytes = 64 * KiB

/** A file of its own with the bytes of a region, which takes memory only for what is not zero. */
export interface Copy extends AsyncDisposable {
  readonly file: string
}

/** For programs that cannot be told where in a file to begin, or that have to write. `null`: there is no room for it. */
export async function copyOf(region: Region, signal: AbortSignal): Promise<Copy | null> {
  const file = path.join(tmpdir(), 'copy.img')
  const handle = await open(file, 'wx+', 0o600)
  const dispose = () => unlink(file)
  try {
    const { bavail, bsize } = await statfs(file)
    // Half: a program that replays a journal into it needs some, too.
    let left = Math.floor((bavail * bsize) / 2)
    await handle.truncate(region.bytes)
    for await (const { at, bytes } of region.parts(signal))
      for (let from = 0; from < bytes.byteLength; from += blockBytes) {
        const block = bytes.subarray(from, from + blockBytes)
        if (isZero(block)) continue
        left -= block.byteLength
        if (left < 0) {
          await dispose()
          return null
        }
        await writeWhole(handle, block, at + from)
      }
    return { file, [Symbol.asyncDispose]: dispose }
  } catch (error) {
    await dispose()
    throw error
  } finally {
    await handle.close()
  }
}
