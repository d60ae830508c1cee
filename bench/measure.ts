import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { type Command, type Place, type Step, steps, type Tool } from './tools.ts'

export interface Usage {
  readonly wallSeconds: number
  readonly cpuSeconds: number
  /** The largest resident set of any process. */
  readonly peakBytes: number
}

/** One run of one tool over all steps. */
export interface Run {
  readonly usage: Readonly<Record<Step, Usage>>
  /** Bytes of the repository's files after the full backup, and what the incremental one added. */
  readonly fullBytes: number
  readonly addedBytes: number
}

export interface Input {
  /** With `day1` and `day2`. */
  readonly images: string
  /** As `Place` has it. */
  readonly changes: string
}

/** Runs all steps in a fresh directory, and makes sure that what was restored is what was backed up. */
export function runTool(tool: Tool, input: Input, work: string): Run {
  const place = makePlace(input, fs.mkdtempSync(path.join(work, `${tool.name}-`)))
  try {
    execute(tool.init(place))
    const usage = (step: Exclude<Step, 'delta'>) => {
      warm(
        { full: place.day1, incremental: place.day2, check: place.repository, restore: place.repository }[
          step
        ],
      )
      return measure(tool.step(step, place), path.join(place.home, 'usage'))
    }
    const full = usage('full')
    const fullBytes = bytesIn(place.repository)
    const delta = tool.delta === undefined ? null : runDelta(tool, tool.delta, input, place)
    const incremental = usage('incremental')
    const addedBytes = bytesIn(place.repository) - fullBytes
    const [check, restore] = [usage('check'), usage('restore')]
    requireSame(place.day2, place.restored)
    return {
      usage: { full, incremental, delta: delta ?? incremental, check, restore },
      fullBytes,
      addedBytes,
    }
  } finally {
    fs.rmSync(directoryOf(place), { recursive: true, force: true })
  }
}

/** In a copy of the place, which it leaves as it was. */
function runDelta(tool: Tool, delta: (place: Place) => Command, input: Input, before: Place): Usage {
  const directory = `${directoryOf(before)}-delta`
  try {
    fs.mkdirSync(directory)
    const place = makePlace(input, directory)
    // What is stored is never written to again; what lies beside it is.
    execute({ argv: ['cp', '-al', before.repository, place.repository] })
    for (const name of fs.readdirSync(directoryOf(before)))
      if (name.startsWith(`${path.basename(before.repository)}.`))
        execute({ argv: ['cp', '-a', path.join(directoryOf(before), name), directory] })
    warm(place.day2)
    const usage = measure(delta(place), path.join(place.home, 'usage'))
    execute(tool.step('restore', place))
    requireSame(place.day2, place.restored)
    return usage
  } finally {
    fs.rmSync(directory, { recursive: true, force: true })
  }
}

function directoryOf({ home }: Place): string {
  return path.dirname(home)
}

export function versionOf({ version }: Tool): string {
  return execute(version).split('\n')[0]?.trim() ?? ''
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

export function medianRun(runs: readonly Run[]): Run {
  const of = (pick: (run: Run) => number) => median(runs.map(pick))
  const usage = (step: Step): Usage => ({
    wallSeconds: of(run => run.usage[step].wallSeconds),
    cpuSeconds: of(run => run.usage[step].cpuSeconds),
    peakBytes: of(run => run.usage[step].peakBytes),
  })
  return {
    usage: Object.fromEntries(steps.map(step => [step, usage(step)])) as Record<Step, Usage>,
    fullBytes: of(run => run.fullBytes),
    addedBytes: of(run => run.addedBytes),
  }
}

function makePlace({ images, changes }: Input, directory: string): Place {
  const [home, restored] = ['home', 'restored'].map(name => path.join(directory, name)) as [string, string]
  for (const one of [home, restored]) fs.mkdirSync(one)
  return {
    day1: path.join(images, 'day1'),
    day2: path.join(images, 'day2'),
    repository: path.join(directory, 'repository'),
    restored,
    changes,
    home,
  }
}

/** GNU time also counts children that the command waited for. */
export function measure(command: Command, report: string): Usage {
  execute({ ...command, argv: ['/usr/bin/time', '-f', '%e %U %S %M', '-o', report, ...command.argv] })
  const [wall = Number.NaN, user = Number.NaN, system = Number.NaN, peakKibibytes = Number.NaN] = fs
    .readFileSync(report, 'utf8')
    .trim()
    .split(' ')
    .map(Number)
  return { wallSeconds: wall, cpuSeconds: user + system, peakBytes: peakKibibytes * 1024 }
}

export function execute({ argv, directory, environment }: Command): string {
  const [file = '', ...args] = argv
  const { status, stdout, stderr, error } = spawnSync(file, args, {
    cwd: directory,
    env: { ...process.env, ...environment },
    encoding: 'utf8',
  })
  if (error) throw error
  if (status !== 0) throw new Error(`${argv.join(' ')} failed with ${status}:\n${stderr}`)
  return stdout
}

/**
 * Reads all files once, so that each tool finds them in the page cache; what was written before is on the disk by then, so that none
 * pays for another.
 */
function warm(directory: string): void {
  execute({ argv: ['sync'] })
  execute({ argv: ['sh', '-c', 'find . -type f -exec cat -- {} + >/dev/null'], directory })
}

export function bytesIn(directory: string): number {
  return fs
    .readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + fs.statSync(path.join(entry.parentPath, entry.name)).size, 0)
}

function requireSame(original: string, restored: string): void {
  for (const file of fs.readdirSync(original))
    execute({ argv: ['cmp', path.join(original, file), path.join(restored, file)] })
}
