import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { makeImages } from './images.ts'
import { medianRun, type Run, runTool, versionOf } from './measure.ts'
import { parseSize } from './size.ts'
import { borg, ours, restic, steps, type Tool } from './tools.ts'

/*
 * The product beside stock restic and borg: the same images, one machine, one run of the tools after another, page cache
 * warm, median of several runs, restored images compared byte by byte.
 *
 *   npm run bench [-- --json] [--size 512M] [--runs 3] [--images DIR]
 *   npm run bench -- index [--blobs 10000000]      something else: `bench/index.ts`
 *
 * DIR holds images that `bench/images.ts` made, or any others under day1/ and day2/. Without it they are made and removed.
 * The table, or one JSON object a line, goes to standard output; progress to standard error.
 */

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
  check: 'check of all data',
  restore: 'restore',
} as const

if (process.argv[2] === 'index') process.exit(await import('./index.ts').then(() => 0))

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    size: { type: 'string', default: '512M' },
    runs: { type: 'string', default: '3' },
    images: { type: 'string' },
  },
})

function measureAll(images: string, work: string, runs: number): ReadonlyMap<Tool, Run> {
  const tools = [ours, restic, borg]
  const results = new Map<Tool, Run[]>(tools.map(tool => [tool, []]))
  // In turns, so that a disturbance of the machine meets all of them.
  for (let run = 1; run <= runs; run++)
    for (const tool of tools) {
      process.stderr.write(`run ${run} of ${runs}: ${tool.name}, ${versionOf(tool)}\n`)
      results.get(tool)?.push(runTool(tool, images, work))
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

const work = fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-'))
process.once('exit', () => fs.rmSync(work, { recursive: true, force: true }))
const images = path.resolve(options.images ?? path.join(work, 'images'))
if (options.images === undefined) {
  process.stderr.write(`making images of ${options.size}\n`)
  makeImages(images, parseSize(options.size), 'strongroom')
}
const results = measureAll(images, work, Number(options.runs))
const mine = results.get(ours)
const rows = [...results].flatMap(([tool, run]) =>
  mine === undefined || tool === ours ? [] : rowsOf(mine, run, tool.name),
)
process.stdout.write(
  options.json ? `${rows.map(row => JSON.stringify(row)).join('\n')}\n` : `${table(rows)}\n`,
)
