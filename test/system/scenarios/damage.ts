import { chmod, open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import type { LocalSystem } from '../system.ts'
import { must } from './scenario.ts'

/* What happens to stored packs. */

export async function largestPack({ provisioned }: LocalSystem): Promise<string> {
  const root = path.join(provisioned.repository, 'data')
  const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter(one => one.isFile())
  const sized = await Promise.all(
    files.map(async ({ parentPath, name }) => {
      const file = path.join(parentPath, name)
      return { file, bytes: (await stat(file)).size }
    }),
  )
  const [largest] = sized.sort((a, b) => b.bytes - a.bytes)
  must(largest !== undefined, 'there is no pack')
  return largest.file
}

/** Twice, and it is as it was. */
export async function flipByte(file: string): Promise<void> {
  await chmod(file, 0o600)
  await using handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, 1000)
  byte[0] = (byte[0] ?? 0) ^ 0x40
  await handle.write(byte, 0, 1, 1000)
}
