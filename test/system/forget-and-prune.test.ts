import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sameBytes, useForADay } from '../../scripts/quickstart/images.ts'
import type { Job, SnapshotSummary } from '../../src/qrexec/calls/orders.ts'
import { filteredCopy } from './how-to.ts'
import { recoverPassphrase } from './leak/secrets.ts'
import { apiVariables, type Ended, runToEnd, strongroom } from './strongroom.ts'
import { LocalSystem } from './system.ts'

/** Days of backups pruned through every role, then looked at with stock restic. */

let system: LocalSystem
const snapshots: string[] = []

beforeAll(async () => {
  system = await LocalSystem.start({
    images: { work: 96, personal: 48 },
    fillMiB: 16,
    retention: '{ keep_last: 1 }',
  })
  for (const day of ['one', 'two', 'three']) {
    if (snapshots.length > 0)
      for (const guest of system.guests) await useForADay(system.image(guest), `${guest} ${day}`)
    const job = await system.backup()
    snapshots.push(job.outcome?.snapshot ?? '')
  }
  await system.keepCopy(path.join(system.home.directory, 'newest'))
})
afterAll(() => system?.[Symbol.asyncDispose]())

describe('forget and prune, by command line', () => {
  test('a hold keeps the first day, and the list says what a prune would keep', async () => {
    const date = new Date(Date.now() + 7 * 24 * 3_600_000).toISOString().slice(0, 10)
    const held = await result<SnapshotSummary>('hold', 'set', system.profile, snapshots[0] ?? '', date)
    expect(held).toMatchObject({ snapshot: snapshots[0], keptBy: ['held'] })
    expect((await cli('hold', 'end', system.profile, snapshots[0] ?? '')).code).toBe(5)
    const { snapshots: listed } = await result<{ snapshots: SnapshotSummary[] }>('snapshots', system.profile)
    expect(listed.map(({ keptBy }) => keptBy)).toEqual([['held'], [], ['newest', 'last']])
  })

  test('a dry run tells what the prune then does', async () => {
    const before = await objects()
    const dry = await result<{ job: Job }>('prune', system.profile, '--dry-run', '--wait')
    expect(dry.job).toMatchObject({ state: 'done', outcome: { prune: { dryRun: true, forgotten: 1 } } })
    expect(await objects()).toEqual(before)
    const { job } = await result<{ job: Job }>('prune', system.profile, '--wait')
    expect(job.outcome?.prune).toEqual({ ...dry.job.outcome?.prune, dryRun: false })
    expect(job.outcome?.warnings).toEqual([])
    expect(await objects('snapshots')).toEqual([snapshots[0], snapshots[2]].toSorted())
  })

  test('the check is clean, and an unforgotten snapshot that is missing would be an alarm', async () => {
    const { job } = await result<{ job: Job }>('check', system.profile, '--read-data', '--wait')
    expect(job.outcome).toMatchObject({ snapshots: 2, warnings: [] })
  })

  test('a restore gives the newest day back, byte for byte', async () => {
    const { job } = await result<{ job: Job }>('restore', system.profile, '--wait')
    for (const guest of system.guests) {
      const day = path.join(system.home.directory, 'newest', `${guest}.img`)
      expect(await sameBytes(day, system.restored(job, guest))).toBe(true)
    }
  })

  test('stock restic finds no error, and restores the same', async () => {
    expect(await restic('check', '--read-data')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('no errors were found'),
    })
    const target = path.join(system.home.directory, 'by-restic')
    expect((await restic('restore', snapshots[2] ?? '', '--target', target)).code).toBe(0)
    for (const guest of system.guests) {
      const day = path.join(system.home.directory, 'newest', `${guest}.img`)
      expect(await sameBytes(day, path.join(target, 'volumes', guest, 'private.img'))).toBe(true)
    }
  })

  test('a filtered copy, as the how-to makes it, is what is in force and no more', async () => {
    const copy = path.join(system.home.directory, 'copy', path.basename(system.provisioned.repository))
    expect(await filteredCopy(system, system.provisioned.repository, copy)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/, 0 missing or changed/),
    })
    for (const kind of ['snapshots', 'index', 'data'])
      expect(await namesIn(path.join(copy, kind)), kind).toEqual(await objects(kind))
  })

  test('backups go on, and the ledger verifies', async () => {
    await useForADay(system.image('work'), 'four')
    await system.backup()
    expect((await result<{ job: Job }>('prune', system.profile, '--wait')).job.state).toBe('done')
    expect((await result<{ job: Job }>('check', system.profile, '--wait')).job.outcome?.snapshots).toBe(2)
    expect((await result<{ size: number }>('ledger', 'verify')).size).toBeGreaterThan(20)
  })
})

test('storage that was put back to before the prune is named as such', async () => {
  const index = path.join(system.provisioned.repository, 'index')
  const before = await objects('index')
  await useForADay(system.image('work'), 'five')
  await system.backup()
  for (const name of await objects('index')) if (!before.includes(name)) await rm(path.join(index, name))
  const found = await objects('snapshots')
  const newest = (await result<{ snapshots: SnapshotSummary[] }>('snapshots', system.profile)).snapshots.at(
    -1,
  )
  expect(found).toContain(newest?.snapshot)
  await rm(path.join(system.provisioned.repository, 'snapshots', newest?.snapshot ?? ''))
  const check = await cli('check', system.profile, '--wait')
  expect(check.code).toBe(4)
  expect(check.stderr).toContain('STORAGE_ROLLED_BACK')
})

function objects(kind = 'data'): Promise<string[]> {
  return namesIn(path.join(system.provisioned.repository, kind))
}

async function namesIn(directory: string): Promise<string[]> {
  const files = await readdir(directory, { recursive: true, withFileTypes: true })
  return files
    .filter(file => file.isFile() && /^[0-9a-f]{64}$/.test(file.name))
    .map(({ name }) => name)
    .sort()
}

async function restic(...command: readonly string[]): Promise<Ended> {
  const passphrase = await recoverPassphrase(system)
  return runToEnd('restic', ['-r', system.provisioned.repository, '--no-lock', '--no-cache', ...command], {
    RESTIC_PASSWORD: passphrase,
  })
}

function cli(...args: readonly string[]): Promise<Ended> {
  return strongroom(args, apiVariables(system))
}

async function result<T>(...args: readonly string[]): Promise<T> {
  const ended = await cli(...args, '--json')
  expect(ended, ended.stderr).toMatchObject({ code: 0 })
  return JSON.parse(ended.stdout.trim().split('\n').at(-1) ?? '') as T
}
