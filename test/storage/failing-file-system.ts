import * as nodeFileSystem from 'node:fs/promises'
import type { FileSystem } from '../../src/storage/file-system.ts'

/** A system call as a local store made it, e.g. `open data`, `sync .tmp`. Names of objects and directories are shortened. */
export interface Call {
  readonly operation: string
  readonly path: string
}

const failing = new Set([
  'open',
  'link',
  'unlink',
  'mkdir',
  'readdir',
  'lstat',
  'write',
  'truncate',
  'sync',
  'stat',
  'read',
])

/** The real file system, which notes each call and fails the one with the number `failAt` (from 0) with `errno`. */
export function failingFileSystem(
  failAt: number | null,
  errno = 'EIO',
): { files: FileSystem; calls: Call[] } {
  const calls: Call[] = []

  const watched = <T extends object>(target: T, pathOf: (args: readonly unknown[]) => string): T =>
    new Proxy(target, {
      get(_, property) {
        const method: unknown = Reflect.get(target, property)
        if (typeof method !== 'function') return method
        if (!failing.has(String(property))) return method.bind(target)
        return async (...args: unknown[]) => {
          const path = pathOf(args)
          if (calls.push({ operation: String(property), path }) - 1 === failAt)
            throw Object.assign(new Error(`${errno}: made up`), { code: errno })
          const result: unknown = await method.apply(target, args)
          return property === 'open' ? watched(result as object, () => path) : result
        }
      },
    })

  const { open, link, unlink, mkdir, readdir, lstat } = nodeFileSystem
  return { files: watched({ open, link, unlink, mkdir, readdir, lstat }, args => String(args[0])), calls }
}
