import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { makeImages } from './images.ts'
import { bytesIn, execute, measure, median } from './measure.ts'
import { parseCount, parseSize } from './size.ts'
import { readOptions } from './usage.ts'
import { workDirectory } from './work-directory.ts'

const help = `What other sizes of chunks and packs and other levels of compression would cost: one of them changed at a time, the others as they
are. A full backup, the next day and a restore, medians of several runs.

  npm run bench -- sweep [OPTIONS]

  --size 1G     of each of the two images, half full
  --runs 3
  --images DIR  day1/*.img and day2/*.img that are there

One JSON object a row: what is changed and to what; full, next and restore in seconds of wall and CPU, stored and added in MiB, peak of
the full backup in MiB.
`

const {
  images: given,
  bytes,
  runs,
} = readOptions(
  help,
  {
    size: { type: 'string', default: '1G' },
    runs: { type: 'string', default: '3' },
    images: { type: 'string' },
  },
  ({ size, runs, images }) => ({ images, bytes: parseSize(size), runs: parseCount(runs, 'runs') }),
)

/** As `bench/sweep-hook.ts` writes them into `src/repository/format.ts`. */
const choices: readonly (readonly [name: string, values: readonly number[]])[] = [
  ['chunkKiB', [64, 128, 256, 512, 1024]],
  ['packMiB', [4, 8, 16, 32, 64]],
  ['level', [1, 2, 3, 6, 9]],
]
const mebibyte = 1024 ** 2
const script = path.join(import.meta.dirname, 'ours.ts')
const hook = new URL('sweep-hook.ts', import.meta.url)

const work = workDirectory()
const images = path.resolve(given ?? path.join(work, 'images'))
if (given === undefined) makeImages(images, bytes, 'strongroom')
const [day1, day2] = ['day1', 'day2'].map(day => path.join(images, day)) as [string, string]

function once(name: string, value: number) {
  const directory = fs.mkdtempSync(path.join(work, 'run-'))
  const [repository, restored, usage] = ['repository', 'restored', 'usage'].map(name =>
    path.join(directory, name),
  ) as [string, string, string]
  const argv = (...args: readonly string[]) => [
    process.execPath,
    '--import',
    `${hook}?${name}=${value}`,
    script,
    ...args,
  ]
  const step = (...args: readonly string[]) => measure({ argv: argv(...args) }, usage)
  try {
    fs.mkdirSync(restored)
    execute({ argv: argv('init', repository) })
    for (const day of [day1, day2]) spawnSync('sh', ['-c', 'cat -- * >/dev/null'], { cwd: day })
    const full = step('backup', repository, day1)
    const stored = bytesIn(repository)
    const next = step('backup', repository, day2)
    const added = bytesIn(repository) - stored
    const restore = step('restore', repository, restored)
    for (const file of fs.readdirSync(day2))
      execute({ argv: ['cmp', path.join(day2, file), path.join(restored, file)] })
    return { full, next, restore, stored, added }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true })
  }
}

for (const [name, values] of choices)
  for (const value of values) {
    process.stderr.write(`${name} ${value}\n`)
    const all = Array.from({ length: runs }, () => once(name, value))
    const of = (pick: (one: (typeof all)[number]) => number) => Number(median(all.map(pick)).toPrecision(3))
    const row = {
      [name]: value,
      fullWall: of(one => one.full.wallSeconds),
      fullCPU: of(one => one.full.cpuSeconds),
      nextWall: of(one => one.next.wallSeconds),
      nextCPU: of(one => one.next.cpuSeconds),
      restoreWall: of(one => one.restore.wallSeconds),
      restoreCPU: of(one => one.restore.cpuSeconds),
      stored: of(one => one.stored / mebibyte),
      added: of(one => one.added / mebibyte),
      peak: of(one => one.full.peakBytes / mebibyte),
    }
    process.stdout.write(`${JSON.stringify(row)}\n`)
  }
