import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { type Finding, type Needle, overlapBytes, search } from './needles.ts'

const windowBytes = 4 * 1024 * 1024

export interface FileScan {
  readonly findings: readonly Finding[]
  readonly files: number
  readonly bytes: number
}

/** Searches the names and the contents of all files at or below `paths`. A path that is not there is an error. */
export async function scanFiles(paths: readonly string[], needles: readonly Needle[]): Promise<FileScan> {
  const findings: Finding[] = []
  let files = 0
  let bytes = 0
  for (const root of paths)
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name)
      findings.push(...search(Buffer.from(path.relative(root, file)), needles, `the name ${file}`))
      if (!entry.isFile()) continue
      files += 1
      bytes += await scanFile(file, needles, findings)
    }
  return { findings, files, bytes }
}

async function scanFile(file: string, needles: readonly Needle[], findings: Finding[]): Promise<number> {
  const overlap = overlapBytes(needles)
  const handle = await open(file)
  try {
    const buffer = Buffer.alloc(windowBytes)
    let kept = 0
    let total = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, kept, windowBytes - kept)
      if (bytesRead === 0) return total
      total += bytesRead
      const filled = kept + bytesRead
      findings.push(...search(buffer.subarray(0, filled), needles, file))
      kept = Math.min(overlap, filled)
      buffer.copyWithin(0, filled - kept, filled)
    }
  } finally {
    await handle.close()
  }
}
