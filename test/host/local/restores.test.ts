import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/environment.ts'
import { silentLog } from '../../../src/base/log.ts'
import { type JobId, parseJobId, parseSnapshotId, parseVmName } from '../../../src/base/names.ts'
import { LocalRestores } from '../../../src/host/local/restores.ts'

const never = new AbortController().signal
const hour = 3_600_000
const snapshots = Array.from({ length: 6 }, (_, index) => parseSnapshotId(`${index}`.repeat(64)))
const job = (index: number): JobId => parseJobId(`20261124T03150${index}Z-1f2e3d4c`)
const leftOf = (index: number) => `.restore-${snapshots[index]}`

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'restores-'))
})
afterEach(() => rm(directory, { recursive: true }))

const open = () => LocalRestores.open({ directory, clock: systemClock, log: silentLog })

async function begin(restores: LocalRestores, index: number, reuse: JobId | null = null, resumable = true) {
  const snapshot = snapshots[index]
  if (snapshot === undefined) throw new Error('no such snapshot')
  const sink = await restores.begin({ job: job(index), snapshot, resumable, reuse })
  const name = { vm: parseVmName('work'), volume: 'private', range: null }
  return { sink, volume: await sink.create(name, 6, never) }
}

async function interrupt(restores: LocalRestores, index: number, resumable = true): Promise<void> {
  const { sink, volume } = await begin(restores, index, null, resumable)
  await volume.write(Buffer.from('secret'), 0)
  await sink[Symbol.asyncDispose]()
}

async function age(name: string, hours: number): Promise<void> {
  const then = new Date(Date.now() - hours * hour)
  await utimes(path.join(directory, name), then, then)
}

const names = async () => (await readdir(directory)).sort()

test('the next restore of a snapshot goes on with what was interrupted', async () => {
  await interrupt(await open(), 0)
  const restores = await open()
  expect(await names()).toEqual([leftOf(0)])
  const { sink, volume } = await begin(restores, 0)
  expect(volume.left).not.toBeNull()
  await sink.commit()
  await sink[Symbol.asyncDispose]()
  expect(await names()).toEqual([job(0)])
})

test('one that nobody can go on with is removed, at its end and after a crash', async () => {
  await interrupt(await open(), 0, false)
  expect(await names()).toEqual([])
  for (const name of [`.restore-${job(0)}`, '.restore-x']) await mkdir(path.join(directory, name))
  await mkdir(path.join(directory, job(1)))
  await writeFile(path.join(directory, 'note'), 'not ours')
  await open()
  expect(await names()).toEqual([job(1), 'note'])
})

test('only the newest four are kept, and none for more than a week', async () => {
  const restores = await open()
  for (const index of [0, 1, 2, 3]) {
    await interrupt(restores, index)
    await age(leftOf(index), 10 - index)
  }
  await interrupt(restores, 4)
  expect(await names()).toEqual([1, 2, 3, 4].map(leftOf))
  await age(leftOf(2), 7 * 24 + 1)
  await age(leftOf(3), 7 * 24 - 1)
  await open()
  expect(await names()).toEqual([1, 3, 4].map(leftOf))
})

test('one that is being made is never removed, and counts', async () => {
  const restores = await open()
  const running = await begin(restores, 0)
  await running.volume.write(Buffer.from('secret'), 0)
  await age(leftOf(0), 1000)
  for (const index of [1, 2, 3, 4, 5]) await interrupt(restores, index)
  expect(await names()).toContain(leftOf(0))
  expect(await restores.count()).toBe(1)
  await running.sink.commit()
  await running.sink[Symbol.asyncDispose]()
  expect(await restores.count()).toBe(1)
})

test('how long it is kept counts from the last interruption', async () => {
  const restores = await open()
  await interrupt(restores, 0)
  await age(leftOf(0), 100)
  await interrupt(restores, 0)
  expect(Date.now() - (await stat(path.join(directory, leftOf(0)))).mtimeMs).toBeLessThan(hour)
})

test('an earlier restore that is not there cannot be reused', async () => {
  const restores = await open()
  await expect(begin(restores, 0, job(1))).rejects.toMatchObject({ code: 'RESTORE_MISSING' })
  expect(await restores.count()).toBe(0)
  await mkdir(path.join(directory, job(1)))
  const { sink } = await begin(restores, 0, job(1))
  await sink[Symbol.asyncDispose]()
})

test('one that begins while another tidies keeps what it goes on with', async () => {
  const restores = await open()
  for (const index of [0, 1]) await interrupt(restores, index)
  // The first to be removed takes a while.
  const [first = '', second = ''] = await readdir(directory)
  for (let file = 0; file < 3000; file++) await writeFile(path.join(directory, first, `${file}`), '')
  for (const index of [0, 1]) await age(leftOf(index), 8 * 24)
  const tidying = begin(restores, 4)
  await expect
    .poll(async () => (await readdir(path.join(directory, first)).catch(() => [])).length)
    .toBeLessThan(3000)
  const { sink, volume } = await begin(restores, second === leftOf(0) ? 0 : 1)
  await tidying
  await volume.write(Buffer.from('secret'), 0)
  const other = await sink.create({ vm: parseVmName('work'), volume: 'root', range: null }, 6, never)
  await other.write(Buffer.from('secret'), 0)
  await sink.commit()
  await sink[Symbol.asyncDispose]()
  const made = (await readdir(directory)).find(name => !name.startsWith('.'))
  expect((await readdir(path.join(directory, `${made}`, 'work'))).sort()).toEqual(['private.img', 'root.img'])
  await (await tidying).sink[Symbol.asyncDispose]()
})
