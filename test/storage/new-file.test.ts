import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import * as nodeFileSystem from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { KiB, MiB } from '../../src/base/bytes.ts'
import type { FileSystem } from '../../src/storage/file-system.ts'
import { writeNewFile } from '../../src/storage/new-file.ts'
import { scratch } from '../support/scratch.ts'
import { failingFileSystem } from './failing-file-system.ts'

const never = new AbortController().signal
const mode = 0o400

/** Writes that were to go past the page cache end as `change` has it; none does, for not every file system offers it. */
function changed(change: (write: () => Promise<unknown>, length: number) => Promise<unknown>) {
  const seen = { direct: 0 }
  const open = async (file: string, flags: number, mode?: number) => {
    const handle = await nodeFileSystem.open(file, flags & ~constants.O_DIRECT, mode)
    if ((flags & constants.O_DIRECT) === 0) return handle
    return new Proxy(handle, {
      get(target, property) {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        if (property !== 'write') return method.bind(target)
        return (...args: readonly [Uint8Array, number, number, number]) => {
          seen.direct += 1
          return change(() => method.apply(target, args), args[2])
        }
      },
    })
  }
  return { seen, files: { ...nodeFileSystem, open } as FileSystem }
}

describe('a new file', () => {
  const directory = scratch('new-file')
  let count = 0
  const fresh = () => path.join(directory, `file-${++count}`)

  test.each([0, 1, 4 * KiB, MiB - 1, MiB, MiB + 1, 2 * MiB, 2 * MiB + 4 * KiB, 5 * MiB + 777])(
    'of %i bytes has them',
    async bytes => {
      const [file, body] = [fresh(), randomBytes(bytes)]
      await writeNewFile(nodeFileSystem, file, body, mode, never)
      expect((await nodeFileSystem.readFile(file)).equals(body)).toBe(true)
      expect((await nodeFileSystem.stat(file)).mode & 0o777).toBe(mode)
    },
  )

  test('that is large goes past the page cache, and one that is small does not', async () => {
    const { seen, files } = changed(write => write())
    await writeNewFile(files, fresh(), randomBytes(5 * MiB), mode, never)
    expect(seen.direct).toBe(3)
    await writeNewFile(files, fresh(), randomBytes(MiB - 1), mode, never)
    expect(seen.direct).toBe(3)
  })

  const refusals = {
    'the file system refuses to': async () => {
      throw Object.assign(new Error('EINVAL: made up'), { code: 'EINVAL' })
    },
    'a write ends early': async (write: () => Promise<unknown>, length: number) => {
      await write()
      return { bytesWritten: length - 512 }
    },
  }
  test.each(Object.entries(refusals))('goes through it where %s', async (_, change) => {
    const { seen, files } = changed(change)
    const [file, body] = [fresh(), randomBytes(3 * MiB + 5)]
    await writeNewFile(files, file, body, mode, never)
    expect(seen.direct).toBe(1)
    expect((await nodeFileSystem.readFile(file)).equals(body)).toBe(true)
  })

  test('is not told to be there when any call fails', async () => {
    const body = randomBytes(3 * MiB)
    const total = failingFileSystem(null)
    await writeNewFile(total.files, fresh(), body, mode, never)
    expect(total.calls.at(-1)?.operation).toBe('sync')
    for (const failAt of total.calls.keys()) {
      const { files } = failingFileSystem(failAt)
      await expect(writeNewFile(files, fresh(), body, mode, never)).rejects.toThrow('EIO')
    }
  })

  test('replaces none, and is not begun by whoever has stopped', async () => {
    const file = fresh()
    await nodeFileSystem.writeFile(file, 'there')
    await expect(writeNewFile(nodeFileSystem, file, randomBytes(MiB), mode, never)).rejects.toThrow('EEXIST')
    expect(await nodeFileSystem.readFile(file, 'utf8')).toBe('there')
    const stopped = AbortSignal.abort(new Error('stopped'))
    await expect(writeNewFile(nodeFileSystem, fresh(), randomBytes(MiB), mode, stopped)).rejects.toThrow(
      'stopped',
    )
  })
})
