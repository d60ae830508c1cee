import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** An empty directory, removed with the process, however it ends. */
export function workDirectory(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-'))
  process.once('exit', () => fs.rmSync(directory, { recursive: true, force: true }))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  return directory
}
