import { spawnSync } from 'node:child_process'
import { hash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { systemEntropy } from '../src/base/environment.ts'
import { type Digest, parseDigest } from '../src/base/names.ts'
import { RepositoryKey, repositoryKeyLength } from '../src/crypto/aead.ts'
import { BlobIds } from '../src/repository/blob-ids.ts'
import { BlobRecords } from '../src/repository/blob-records.ts'
import { blobIdLength, indexBlobsMax } from '../src/repository/format.ts'
import { IndexTable } from '../src/repository/index-table.ts'
import { bringIndexTable } from '../src/repository/index-table-update.ts'
import { IndexTableWriter } from '../src/repository/index-table-writer.ts'
import { sealUnpacked } from '../src/repository/unpacked.ts'
import { report } from './report.ts'
import { parseCount } from './size.ts'
import { readOptions, stepOf } from './usage.ts'

const help = `The table of all blobs of a large repository that does not exist, each step in a process of its own.

  npm run bench -- index [OPTIONS]

  --blobs 10000000
  --directory DIR   with room for 150 bytes a blob; it is left as it is
  --step NAME       objects, build, open, packs, more, extend or table, one after another in DIR

One JSON object a line: what, value, unit. \`peak\` is the largest resident set of the process that took the step; one that does
nothing has about 90 MiB.
`

const options = readOptions(
  help,
  {
    blobs: { type: 'string', default: '10000000' },
    directory: { type: 'string' },
    step: { type: 'string' },
  },
  values => ({ ...values, blobs: parseCount(values.blobs, 'blobs') }),
)
const { blobs } = options
const blobsPerPack = 64
/** Whole packs. */
const blobsPerIndex = indexBlobsMax - (indexBlobsMax % blobsPerPack)
const blobBytes = 262_144
const lookups = 300_000
const signal = new AbortController().signal

const directory = options.directory ?? fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-index-'))
const objects = path.join(directory, 'index')
const tablePath = path.join(directory, 'blobs')
/** The same in every process; there is nothing to protect. */
const key = new RepositoryKey(new Uint8Array(repositoryKeyLength).fill(7))

const idOf = (blob: number) => hash('sha256', `blob ${blob}`, 'hex')
const packIdOf = (pack: number) => hash('sha256', `pack ${pack}`, 'hex')
const bytesOf = (blob: number) => hash('sha256', `blob ${blob}`, 'buffer')
/** Sealed; as compressed blobs of disks have them. */
const lengthOf = (blob: number) => 60_000 + (Math.imul(blob, 0x9e3779b1) >>> 15)

function indexJson(from: number, to: number): string {
  const packs: string[] = []
  for (let first = from; first < to; first += blobsPerPack) {
    let offset = 0
    const items: string[] = []
    for (let blob = first; blob < Math.min(first + blobsPerPack, to); blob++) {
      const place = `"offset":${offset},"length":${lengthOf(blob)},"uncompressed_length":${blobBytes}`
      items.push(`{"id":"${idOf(blob)}","type":"data",${place}}`)
      offset += lengthOf(blob)
    }
    packs.push(`{"id":"${packIdOf(first / blobsPerPack)}","blobs":[${items.join(',')}]}`)
  }
  return `{"packs":[${packs.join(',')}]}`
}

/** Index objects of the blobs from `from` to `to`, and a file that lists them in order. */
async function makeObjects(from: number, to: number): Promise<void> {
  fs.mkdirSync(objects, { recursive: true })
  for (let first = from; first < to; first += blobsPerIndex) {
    const json = Buffer.from(indexJson(first, Math.min(first + blobsPerIndex, to)))
    const { id, body } = await sealUnpacked(key, json, systemEntropy)
    fs.writeFileSync(path.join(objects, id), body)
    fs.appendFileSync(`${objects}.list`, `${id}\n`)
  }
}

function objectIds(): readonly Digest[] {
  return fs.readFileSync(`${objects}.list`, 'utf8').trim().split('\n').map(parseDigest)
}

function bring(): Promise<IndexTable> {
  const source = {
    key,
    entropy: systemEntropy,
    indexes: objectIds(),
    fetchIndex: async (id: Digest) => fs.promises.readFile(path.join(objects, id)),
    onDamaged: (error: Error) => {
      throw error
    },
  }
  return bringIndexTable(tablePath, source, signal)
}

/** Reports wall and CPU time of `work`, and the peak so far. */
async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const before = process.cpuUsage()
  const begin = performance.now()
  const result = await work()
  report(`${what}, wall`, (performance.now() - begin) / 1000, 's')
  const { user, system } = process.cpuUsage(before)
  report(`${what}, CPU`, (user + system) / 1e6, 's')
  report(`${what}, peak`, process.resourceUsage().maxRSS / 1024, 'MiB')
  return result
}

function rate(what: string, blobOf: (lookup: number) => number, table: IndexTable, known: boolean): void {
  const ids = new BlobIds()
  for (let lookup = 0; lookup < lookups; lookup++) ids.push(bytesOf(blobOf(lookup)))
  const before = process.cpuUsage()
  const begin = performance.now()
  for (const id of ids)
    if ((table.reader.find('data', id) !== null) !== known) throw new Error(`${what}: a wrong answer`)
  const seconds = (performance.now() - begin) / 1000
  const { user, system } = process.cpuUsage(before)
  report(what, ids.length / seconds, 'per second')
  report(`${what}, CPU`, (user + system) / ids.length, 'µs each')
}

async function open(): Promise<void> {
  await using table = await timed('open', async () => IndexTable.open(tablePath, key, signal))
  if (table === null) throw new Error('there is no table')
  report('open, resident', process.memoryUsage.rss() / 2 ** 20, 'MiB')
  rate('known, in any order', () => Math.floor(Math.random() * blobs), table, true)
  rate('known, in the order of a volume', lookup => lookup % blobs, table, true)
  rate('unknown', lookup => 2 * blobs + lookup, table, false)
}

async function packs(): Promise<void> {
  await using table = await IndexTable.open(tablePath, key, signal)
  await timed('all packs in order', async () => {
    let count = 0
    for await (const pack of table?.packs() ?? []) count += pack.blobs.length
    if (count !== blobs) throw new Error('not all blobs were there')
  })
}

/** Without index objects: what the table alone costs. */
async function tableOnly(): Promise<void> {
  const alone = `${tablePath}-alone`
  await timed('table only', async () => {
    await using writer = await IndexTableWriter.begin(alone, null, systemEntropy)
    const records = new BlobRecords()
    for (let first = 0; first < blobs; first += blobsPerIndex) {
      records.clear()
      const packs = []
      for (let pack = first; pack < Math.min(first + blobsPerIndex, blobs); pack += blobsPerPack) {
        const count = Math.min(blobsPerPack, blobs - pack)
        packs.push({ id: randomBytes(blobIdLength), first: pack - first, count })
        const ids = randomBytes(count * blobIdLength)
        for (let blob = 0; blob < count; blob++) {
          const id = ids.subarray(blob * blobIdLength, (blob + 1) * blobIdLength)
          records.push(id, packs.length - 1, 'data', blob * 60_000, 60_000, blobBytes)
        }
      }
      await writer.add(parseDigest(idOf(-1 - first)), { packs, records })
    }
    await writer.finish(key)
  })
  fs.rmSync(alone)
}

const steps: Readonly<Record<string, () => Promise<void>>> = {
  objects: () => makeObjects(0, blobs),
  build: async () => {
    await using _ = await timed('build from index objects', bring)
    report('table, bytes a blob', fs.statSync(tablePath).size / blobs, 'bytes')
    report('table', fs.statSync(tablePath).size / 2 ** 20, 'MiB')
  },
  open,
  packs,
  more: () => makeObjects(blobs, blobs + blobsPerIndex),
  extend: async () => {
    await using _ = await timed('extend by one index object', bring)
  },
  table: tableOnly,
}

if (options.step !== undefined) await stepOf(steps, options.step)()
else
  try {
    for (const step of Object.keys(steps)) {
      const args = [import.meta.filename, '--step', step, '--blobs', String(blobs), '--directory', directory]
      const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
      if (status !== 0) throw new Error(`${step} ended with ${status}`)
    }
  } finally {
    if (options.directory === undefined) fs.rmSync(directory, { recursive: true })
  }
