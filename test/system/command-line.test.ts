import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sameBytes } from '../../scripts/quickstart/images.ts'
import { fromBase64 } from '../../src/base/bytes.ts'
import { ledgerKey } from '../../src/ledger/identities.ts'
import { formatVerifierKey } from '../../src/ledger/note.ts'
import { serviceVms } from '../../src/main/local-home.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { apiVariables, type Ended, strongroom } from './strongroom.ts'
import { LocalSystem } from './system.ts'

/** `bin/strongroom` against the whole product, as an admin's script uses it. */

let system: LocalSystem
let backup: Job

beforeAll(async () => {
  system = await LocalSystem.start({ images: { work: 48 }, fillMiB: 4 })
})
afterAll(() => system?.[Symbol.asyncDispose]())

describe('a day of an admin', () => {
  test('order --wait ends with the job', async () => {
    const { job } = await result<{ job: Job }>('order', system.profile, '--wait')
    expect(job).toMatchObject({ kind: 'backup', state: 'done', initiator: serviceVms.management })
    backup = job
  })

  test('an order sent twice with one key is one job', async () => {
    const key = ['--key', 'the-same-order-twice']
    const first = await result<{ job: Job }>('order', system.profile, '--wait', ...key)
    const again = await result<{ job: Job }>('order', system.profile, '--wait', ...key)
    expect(again.job.id).toBe(first.job.id)
  })

  test('status and snapshots show it', async () => {
    const status = await result<{ alarms: unknown[]; profiles: object[] }>('status')
    expect(status.alarms).toEqual([])
    expect(status.profiles).toEqual([expect.objectContaining({ name: system.profile })])
    const { snapshots } = await result<{ snapshots: { snapshot: string }[] }>('snapshots', system.profile)
    expect(snapshots.map(({ snapshot }) => snapshot)).toContain(backup.outcome?.snapshot)
  })

  test('check --read-data reads everything', async () => {
    const { job } = await result<{ job: Job }>('check', system.profile, '--read-data', '--wait')
    expect(job).toMatchObject({ kind: 'check', state: 'done', outcome: { snapshots: 2 } })
  })

  test('restore brings the image back, byte for byte', async () => {
    const snapshot = backup.outcome?.snapshot ?? ''
    const { job } = await result<{ job: Job }>('restore', system.profile, '--snapshot', snapshot, '--wait')
    expect(job.state).toBe('done')
    expect(await sameBytes(system.image('work'), system.restored(job, 'work'))).toBe(true)
  })

  test('ledger verify proves the history with a key that did not come from the management VM', async () => {
    const settings = await readFile(system.home.settings(serviceVms.management), 'utf8')
    const { keys } = JSON.parse(settings) as { keys: { dom0: string } }
    const file = path.join(system.home.directory, 'ledger.vkey')
    await writeFile(file, formatVerifierKey(ledgerKey({ dom0: fromBase64(keys.dom0) })))
    const verified = await result<{ size: number }>('ledger', 'verify', '--key', file)
    expect(verified.size).toBeGreaterThan(10)

    const other = ledgerKey({ dom0: new Uint8Array(32).fill(9) })
    await writeFile(file, formatVerifierKey(other))
    expect((await cli('ledger', 'verify', '--key', file)).code).not.toBe(0)
  })

  test('a schedule is listed with its next runs until it is removed', async () => {
    await result('schedule', 'set', system.profile, 'mon..fri 21:00', '--time-zone', 'Europe/Berlin')
    const { schedules } = await result<{ schedules: { profile: string; nextRuns: string[] }[] }>(
      ...['schedule', 'show'],
    )
    expect(schedules).toEqual([expect.objectContaining({ profile: system.profile, enabled: true })])
    const runs = schedules[0]?.nextRuns.map(run => new Date(run)) ?? []
    expect(runs).toHaveLength(5)
    for (const run of runs) {
      const options = { timeZone: 'Europe/Berlin', weekday: 'short', hour: '2-digit', hour12: false } as const
      expect(run.toLocaleString('en-GB', options)).toMatch(/^(Mon|Tue|Wed|Thu|Fri),? 21$/)
    }
    const status = await result<{ profiles: { nextRun: string | null }[] }>('status')
    expect(status.profiles[0]?.nextRun).toBe(runs[0]?.toISOString())
    await result('schedule', 'remove', system.profile)
    expect(await result('schedule', 'show')).toMatchObject({ schedules: [] })
  })
})

describe('exit codes say what went wrong', () => {
  test('no such profile', async () => {
    expectFailure(await cli('order', 'holiday', '--wait'), 10, 'PROFILE_NOT_FOUND')
  })

  test('a calendar that is none', async () => {
    expect((await cli('schedule', 'set', system.profile, 'whenever')).code).toBe(2)
  })

  test('a token that is not the one', async () => {
    const wrong = path.join(system.home.directory, 'wrong-token')
    await writeFile(wrong, `${'0'.repeat(64)}\n`, { mode: 0o600 })
    expect((await cli('status', '--token-file', wrong)).code).toBe(5)
  })

  test('nobody at the address', async () => {
    expect((await cli('status', '--api', 'http://127.0.0.1:9')).code).toBe(13)
  })
})

function cli(...args: readonly string[]): Promise<Ended> {
  return strongroom([...args, '--json'], apiVariables(system))
}

/** The last line of a command that succeeds. */
async function result<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await cli(...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as T
}

function expectFailure({ code, stderr }: Ended, exit: number, error: string): void {
  expect(code).toBe(exit)
  expect(JSON.parse(stderr)).toMatchObject({ type: 'error', code: error, exit })
}
