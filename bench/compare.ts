import fs from 'node:fs'
import path from 'node:path'
import { findChanges } from './changes.ts'
import { makeImages } from './images.ts'
import { type Input, medianRun, type Run, runTool, versionOf } from './measure.ts'
import { parseCount, parseSize } from './size.ts'
import { borg, ours, restic, steps, type Tool } from './tools.ts'
import { readOptions, UsageError } from './usage.ts'
import { workDirectory } from './work-directory.ts'

const help = `The product beside stock restic and borg: the same images, one machine, one run of the tools after another, page cache
warm, median of several runs, restored images compared byte by byte.

  npm run bench [-- OPTIONS]

  --size 512M    of each of the two images, half full; whole blocks of 4 KiB; units K M G T
  --runs 3       of which the medians are told
  --images DIR   day1/*.img and day2/*.img that are there, instead of making some and removing them
  --json         one JSON object a row: work, ours, peer, peerName, ratio (ours / peer), unit

  npm run bench -- growth | sweep | index | seal    something else; each has --help

The result goes to standard output, progress to standard error. npm writes a heading before the result, but not as \`npm run -s\`.
`

interface Row {
  readonly work: string
  readonly ours: number
  readonly peer: number
  readonly peerName: string
  /** ours / peer: below 1 is better. */
  readonly ratio: number
  readonly unit: string
}

const mebibyte = 1024 * 1024
const titles = {
  full: 'full backup',
  incremental: 'next day',
  delta: 'next day, changes known',
  check: 'check of all data',
  restore: 'restore',
} as const

function measureAll(input: Input, work: string, runs: number): ReadonlyMap<Tool, Run> {
  const tools = [ours, restic, borg]
  const results = new Map<Tool, Run[]>(tools.map(tool => [tool, []]))
  // In turns, so that a disturbance of the machine meets all of them.
  for (let run = 1; run <= runs; run++)
    for (const tool of tools) {
      process.stderr.write(`run ${run} of ${runs}: ${tool.name}, ${versionOf(tool)}\n`)
      results.get(tool)?.push(runTool(tool, input, work))
    }
  return new Map([...results].map(([tool, all]) => [tool, medianRun(all)]))
}

function rowsOf(mine: Run, peer: Run, peerName: string): Row[] {
  const row = (work: string, unit: string, pick: (run: Run) => number): Row => ({
    work,
    ours: round(pick(mine)),
    peer: round(pick(peer)),
    peerName,
    ratio: round(pick(mine) / pick(peer)),
    unit,
  })
  return [
    ...steps.flatMap(step => [
      row(`${titles[step]}, wall`, 's', run => run.usage[step].wallSeconds),
      row(`${titles[step]}, CPU`, 's', run => run.usage[step].cpuSeconds),
      row(`${titles[step]}, peak memory`, 'MiB', run => run.usage[step].peakBytes / mebibyte),
    ]),
    row('full backup, stored', 'MiB', run => run.fullBytes / mebibyte),
    row('next day, added', 'MiB', run => run.addedBytes / mebibyte),
    row('both days, stored', 'MiB', run => (run.fullBytes + run.addedBytes) / mebibyte),
  ]
}

function table(rows: readonly Row[]): string {
  const line = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, at) => (at < 2 ? String(cell).padEnd(at === 0 ? 30 : 8) : String(cell).padStart(10)))
      .join(' ')
  return [
    line(['work', 'peer', 'ours', 'theirs', 'ratio', 'unit']),
    ...rows.map(row => line([row.work, row.peerName, row.ours, row.peer, row.ratio, row.unit])),
  ].join('\n')
}

function round(value: number): number {
  return Number(value.toPrecision(3))
}

const {
  images: given,
  size,
  json,
  bytes,
  runs,
} = readOptions(
  help,
  {
    json: { type: 'boolean', default: false },
    size: { type: 'string', default: '512M' },
    runs: { type: 'string', default: '3' },
    images: { type: 'string' },
  },
  ({ images, size, json, runs }) => {
    for (const day of ['day1', 'day2'])
      if (images !== undefined && !fs.existsSync(path.join(images, day)))
        throw new UsageError(`--images ${images}: there is no ${day} in it`)
    return { images, size, json, bytes: parseSize(size), runs: parseCount(runs, 'runs') }
  },
)
const work = workDirectory()
const images = path.resolve(given ?? path.join(work, 'images'))
if (given === undefined) {
  process.stderr.write(`making images of ${size}\n`)
  makeImages(images, bytes, 'strongroom')
}
const changes = path.join(work, 'changes.json')
fs.writeFileSync(changes, JSON.stringify(findChanges(images)))
const results = measureAll({ images, changes }, work, runs)
const mine = results.get(ours)
const rows = [...results].flatMap(([tool, run]) =>
  mine === undefined || tool === ours ? [] : rowsOf(mine, run, tool.name),
)
const lines = json ? rows.map(row => JSON.stringify(row)).join('\n') : table(rows)
process.stdout.write(`${lines}\n`)
