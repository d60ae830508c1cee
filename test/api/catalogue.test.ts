import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Catalogue } from '../../src/api/catalogue/catalogue.ts'
import { sqliteDialect } from '../../src/api/catalogue/sqlite.ts'
import { type IdempotencyKey, parseProfileName } from '../../src/base/names.ts'
import { FakeDom0, finished, work } from './fake-dom0.ts'

let directory = ''
let file = ''
beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-catalogue-'))
  file = path.join(directory, 'catalogue.sqlite')
})
afterEach(() => rm(directory, { recursive: true }))

const open = () => Catalogue.open(() => sqliteDialect(file))

async function jobs(count: number) {
  const dom0 = new FakeDom0()
  for (let at = 0; at < count; at++) await dom0.backup(work, `order-${at}-key` as IdempotencyKey)
  return [...dom0.board.values()]
}

test('a catalogue opens again with what it held, in WAL with a sync at every commit', async () => {
  const [job] = await jobs(1)
  if (job === undefined) throw new Error('no job')
  await using first = await open()
  await first.jobs.record([job])
  await first[Symbol.asyncDispose]()
  await using second = await open()
  expect(await second.jobs.get(job.id)).toEqual(job)
  using raw = new DatabaseSync(file)
  expect(raw.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
})

test('a job that has ended stays ended, whatever arrives late', async () => {
  const [job] = await jobs(1)
  if (job === undefined) throw new Error('no job')
  await using catalogue = await open()
  await catalogue.jobs.record([job])
  await catalogue.jobs.record([{ ...job, ...finished }])
  await catalogue.jobs.record([job, { ...job, state: 'running' }])
  expect((await catalogue.jobs.get(job.id))?.state).toBe('done')
  expect(await catalogue.jobs.unfinished()).toEqual([])
})

test('the newest of each profile and kind is found among many', async () => {
  const home = parseProfileName('home')
  const all = (await jobs(60)).map((job, at) => ({
    ...job,
    profile: at % 2 === 0 ? work : home,
    ...(at < 50 ? finished : {}),
  }))
  await using catalogue = await open()
  await catalogue.jobs.record(all)
  const newest = await catalogue.jobs.newest('backup', ['done'])
  expect([newest.get('work')?.id, newest.get('home')?.id]).toEqual([all[48]?.id, all[49]?.id])
  expect(await catalogue.jobs.newest('check', ['done'])).toEqual(new Map())
  expect(await catalogue.jobs.unfinished()).toHaveLength(10)
  expect((await catalogue.jobs.list({ profile: home, countMax: 3 })).map(job => job.id)).toEqual(
    [59, 57, 55].map(at => all[at]?.id),
  )
})

test('a file that is no database, or holds what we never wrote, gives a coded error', async () => {
  await writeFile(file, 'this is no database, though it is long enough to be read as one'.repeat(20))
  await expect(open()).rejects.toMatchObject({ code: 'CATALOGUE_DAMAGED' })
  await rm(file)
  const [job] = await jobs(1)
  if (job === undefined) throw new Error('no job')
  await using catalogue = await open()
  await catalogue.jobs.record([job])
  using raw = new DatabaseSync(file)
  raw.exec(`UPDATE job SET body = '{"id":1}'`)
  await expect(catalogue.jobs.get(job.id)).rejects.toMatchObject({ code: 'CATALOGUE_DAMAGED' })
})

test('a directory that does not exist gives a coded error', async () => {
  file = path.join(directory, 'missing', 'catalogue.sqlite')
  await expect(open()).rejects.toMatchObject({ code: 'CATALOGUE_DAMAGED' })
})
