import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** An empty directory, removed with the process; `bench.ts` sees to it when that is interrupted. */
export function workDirectory(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-'))
  process.once('exit', () => fs.rmSync(directory, { recursive: true, force: true }))
  return directory
}
