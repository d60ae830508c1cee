import { mkdtempSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

const directories = new Set<string>()

/** A new directory in the temp directory, which is removed when the tests of the file, or this process, have ended. */
export function scratch(name: string): string {
  const directory = mkdtempSync(path.join(tmpdir(), `strongroom-${name}-`))
  directories.add(directory)
  return directory
}

/** Before that, by whoever made it. */
export async function discard(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  directories.delete(directory)
}

export async function discardAll(): Promise<void> {
  for (const directory of [...directories]) await discard(directory)
}

process.once('exit', () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})
