import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { errnoOf } from '../../../src/base/errors.ts'
import { type Finding, type Needle, overlapBytes, search } from './needles.ts'

/*
 * Reads the whole memory of a process through /proc/PID/mem while it is stopped. Needs the right to trace it: root, or
 * the user who made its namespace.
 */

const MiB = 1024 * 1024
const windowBytes = 8 * MiB
const stopTriesMax = 100_000
const pageBytes = 4096
const wordBytes = 8
const touchedFlags = 0xc0
/** Pages of the kernel, the same in every process. */
const kernelMappings = ['[vvar]', '[vvar_vclock]', '[vsyscall]']

export interface MemoryScan {
  readonly findings: readonly Finding[]
  readonly bytes: number
}

/**
 * `writable`: whatever may have been written. `all`: also files that are mapped for reading only, as the program's
 * own code; they hold nothing that the process was told.
 */
export type Extent = 'writable' | 'all'

/** Searches the readable mappings of `pid`. `null`: there is no such process (any more). */
export function scanMemory(
  pid: number,
  where: string,
  needles: readonly Needle[],
  extent: Extent,
): MemoryScan | null {
  try {
    process.kill(pid, 'SIGSTOP')
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return null
    throw error
  }
  try {
    if (!waitUntilStopped(pid)) return null
    return scanStopped(pid, where, needles, extent)
  } finally {
    try {
      process.kill(pid, 'SIGCONT')
    } catch {
      // It was killed meanwhile.
    }
  }
}

function waitUntilStopped(pid: number): boolean {
  for (let tries = 0; tries < stopTriesMax; tries++) {
    const state = stateOf(pid)
    if (state === null || state === 'Z' || state === 'X') return false
    if (state === 'T' || state === 't') return true
  }
  throw new Error(`process ${pid} does not stop`)
}

function stateOf(pid: number): string | null {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return line.slice(line.lastIndexOf(')') + 2)[0] ?? null
  } catch {
    return null
  }
}

interface Mapping {
  readonly start: number
  readonly end: number
  readonly name: string
}

function scanStopped(pid: number, where: string, needles: readonly Needle[], extent: Extent): MemoryScan {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    const buffer = Buffer.alloc(windowBytes)
    let bytes = 0
    const findings: Finding[] = []
    for (const mapping of readableMappings(pid, extent)) {
      const place = `memory of ${where}, ${mapping.name || 'anonymous'}`
      for (const touched of touchedParts(pid, mapping))
        bytes += scanMapping(memory, touched, buffer, overlapBytes(needles), window =>
          findings.push(...search(window, needles, place)),
        )
    }
    return { findings, bytes }
  } finally {
    closeSync(memory)
  }
}

/** Returns the number of bytes that were read. */
function scanMapping(
  memory: number,
  { start, end, name }: Mapping,
  buffer: Buffer,
  overlap: number,
  look: (window: Buffer) => void,
): number {
  let kept = 0
  let position = start
  while (position < end) {
    const wanted = Math.min(buffer.byteLength - kept, end - position)
    const got = readAt(memory, buffer, kept, wanted, position, name)
    if (got === 0) break
    look(buffer.subarray(0, kept + got))
    position += got
    const keep = Math.min(overlap, kept + got)
    buffer.copyWithin(0, kept + got - keep, kept + got)
    kept = keep
  }
  return position - start
}

function readAt(
  memory: number,
  buffer: Buffer,
  offset: number,
  wanted: number,
  position: number,
  name: string,
): number {
  try {
    return readSync(memory, buffer, offset, wanted, position)
  } catch (error) {
    // A file that is mapped beyond its end. Nothing else may be left out.
    if (errnoOf(error) === 'EIO' && name.startsWith('/')) return 0
    throw error
  }
}

function readableMappings(pid: number, extent: Extent): readonly Mapping[] {
  const mappings: Mapping[] = []
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s*(.*)$/.exec(line)
    const [, start = '', end = '', rights = '', name = ''] = found ?? []
    if (!rights.startsWith('r') || kernelMappings.includes(name)) continue
    if (extent === 'writable' && rights[1] !== 'w' && name.startsWith('/')) continue
    mappings.push({ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), name })
  }
  return mappings
}

/**
 * A mapping of no file without the pages that were never touched, which are zero: V8 reserves half a GiB for code and
 * uses little of it. One word a page in /proc/PID/pagemap; the uppermost bits say in memory, and swapped out.
 */
function touchedParts(pid: number, mapping: Mapping): readonly Mapping[] {
  const { start, end, name } = mapping
  if (name !== '') return [mapping]
  const words = Buffer.alloc(((end - start) / pageBytes) * wordBytes)
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  try {
    const got = readSync(pagemap, words, 0, words.byteLength, (start / pageBytes) * wordBytes)
    if (got !== words.byteLength) throw new Error(`pagemap of process ${pid}: ${got} bytes`)
  } finally {
    closeSync(pagemap)
  }
  const parts: { start: number; end: number; name: string }[] = []
  for (let page = start; page < end; page += pageBytes) {
    const flags = words[((page - start) / pageBytes) * wordBytes + wordBytes - 1] ?? 0
    if ((flags & touchedFlags) === 0) continue
    const last = parts.at(-1)
    if (last?.end === page) last.end += pageBytes
    else parts.push({ start: page, end: page + pageBytes, name })
  }
  return parts
}

/** The processes whose command line names `word`, and all their descendants. */
export function processTree(word: string): readonly number[] {
  const parents = new Map<number, number>()
  const tree = new Set<number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const pid = Number(entry)
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word)) tree.add(pid)
      const line = readFileSync(`/proc/${pid}/stat`, 'latin1')
      parents.set(pid, Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // It ended while the list was read.
    }
  }
  for (let size = -1; size !== tree.size; ) {
    size = tree.size
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid)
  }
  return [...tree]
}
