import { createCipheriv } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { findChanges } from './changes.ts'
import { type Run, runTool } from './measure.ts'
import { type Chart, drawChart } from './plot.ts'
import { parseCount } from './size.ts'
import { ours, type Step, steps } from './tools.ts'
import { readOptions } from './usage.ts'
import { workDirectory } from './work-directory.ts'

const help = `How time and memory grow with the size of a volume: sparse images that nobody made a file system in, a sixteenth of each is data,
half of it noise; on the second day 3 % of that is other data. Each step in a process of its own, restored images compared.

  npm run bench -- growth [OPTIONS]

  --sizes 1,4,16,64   of the images, in GiB
  --results DIR       gets growth.jsonl, growth-time.svg and growth-memory.svg; bench/results without it

One JSON object a row: GiB, step, wall and CPU in seconds, peak in MiB.
`

const gibibyte = 1024 ** 3
const mebibyte = 1024 ** 2
/** One in 16 of these is data. */
const extentBytes = mebibyte
const dataShare = 16
/** One in 33 of those that are data is other data on the second day. */
const changedShare = 33

const { sizes, results } = readOptions(
  help,
  {
    sizes: { type: 'string', default: '1,4,16,64' },
    results: { type: 'string', default: path.join(import.meta.dirname, 'results') },
  },
  ({ sizes, results }) => ({ results, sizes: sizes.split(',').map(size => parseCount(size, 'sizes')) }),
)

/** The same for the same number. */
function content(extent: number, day: number): Buffer {
  const key = Buffer.alloc(32, day)
  const nonce = Buffer.alloc(16)
  nonce.writeUInt32BE(extent)
  const noise = createCipheriv('aes-256-ctr', key, nonce).update(Buffer.alloc(extentBytes))
  // As text compresses: half of the bytes say nothing new.
  if (extent % (2 * dataShare) === 0)
    for (let at = 0; at < extentBytes; at += 128) noise.fill(0x20, at + 64, at + 128)
  return noise
}

function makeImage(file: string, gibibytes: number, day: number): void {
  const image = fs.openSync(file, 'wx')
  fs.ftruncateSync(image, gibibytes * gibibyte)
  for (let extent = 0; extent < (gibibytes * gibibyte) / extentBytes; extent += dataShare) {
    const changed = (extent / dataShare) % changedShare === 0
    fs.writeSync(image, content(extent, changed ? day : 1), 0, extentBytes, extent * extentBytes)
  }
  fs.closeSync(image)
}

function measured(work: string, gibibytes: number): Run {
  const images = path.join(work, 'images')
  for (const day of [1, 2]) {
    fs.mkdirSync(path.join(images, `day${day}`), { recursive: true })
    makeImage(path.join(images, `day${day}`, 'root.img'), gibibytes, day)
  }
  const changes = path.join(work, 'changes.json')
  fs.writeFileSync(changes, JSON.stringify(findChanges(images)))
  try {
    return runTool(ours, { images, changes }, work)
  } finally {
    fs.rmSync(images, { recursive: true })
  }
}

function charts(runs: ReadonlyMap<number, Run>): readonly (readonly [string, Chart])[] {
  const series = (pick: (run: Run, step: Step) => number) =>
    steps.map(step => ({
      name: step,
      points: [...runs].map(([gibibytes, run]) => [gibibytes, pick(run, step)] as const),
    }))
  const x = { title: 'size of the volume, GiB', logarithmic: true }
  return [
    [
      'growth-time.svg',
      {
        title: 'Time',
        x,
        y: { title: 'seconds', logarithmic: true },
        series: series((run, step) => run.usage[step].wallSeconds),
      },
    ],
    [
      'growth-memory.svg',
      {
        title: 'Largest resident set',
        x,
        y: { title: 'MiB', logarithmic: false },
        series: series((run, step) => run.usage[step].peakBytes / mebibyte),
      },
    ],
  ]
}

process.stderr.write(`the results go to ${results}\n`)
const work = workDirectory()
const runs = new Map<number, Run>()
const rows: string[] = []
for (const gibibytes of sizes) {
  process.stderr.write(`a volume of ${gibibytes} GiB\n`)
  const run = measured(work, gibibytes)
  runs.set(gibibytes, run)
  for (const step of steps) {
    const { wallSeconds, cpuSeconds, peakBytes } = run.usage[step]
    const row = {
      GiB: gibibytes,
      step,
      wall: wallSeconds,
      CPU: Number(cpuSeconds.toFixed(2)),
      peak: Math.round(peakBytes / mebibyte),
    }
    rows.push(JSON.stringify(row))
    process.stdout.write(`${rows.at(-1)}\n`)
  }
}
fs.mkdirSync(results, { recursive: true })
fs.writeFileSync(path.join(results, 'growth.jsonl'), `${rows.join('\n')}\n`)
for (const [name, chart] of charts(runs)) fs.writeFileSync(path.join(results, name), drawChart(chart))
