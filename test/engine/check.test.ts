import { describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { slotSetOf } from '../../src/base/slots.ts'
import { profileState } from '../../src/engine/profile-state.ts'
import type { CheckResult, Examination } from '../../src/repository/examination.ts'
import type { ReadingPlan } from '../../src/repository/read-cycle.ts'
import { RestoreError } from '../../src/restore/errors.ts'
import { type EngineBench, run, testBench, testProfile } from '../support/engine.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const day = 86_400_000
const begin = new Date('2026-11-24T03:15:00Z')
const onDay = (days: number) => begin.getTime() + days * day
const newClock = () => new SteppedClock(begin.toISOString())

const outcome = {
  snapshot: undefined,
  bytes: 7000,
  bytesStored: undefined,
  volumes: undefined,
  warnings: [],
  objects: 9,
  snapshots: 1,
  prune: undefined,
  drill: undefined,
}
const packs = { count: 2, bytes: 7000, root: parseDigest('ab'.repeat(32)) }

type Check = (plan: ReadingPlan, examination: Examination) => Promise<CheckResult>
/** A sandbox that reads what it must, and finds nothing wrong. */
const sound: Check = async ({ order, must }) => ({
  fault: null,
  proven: { slots: slotSetOf(order.slice(0, must)), packs },
  outcome,
})

async function bench(check: Check, clock = newClock(), profileText = testProfile): Promise<EngineBench> {
  const examiner = {
    check: (examination: Examination, plan: ReadingPlan) => check(plan, examination),
    restore: async () => Promise.reject(new Error('no restore')),
  }
  const made = await testBench({ examiner, profileText, environment: { clock, entropy: systemEntropy } })
  await run(made)
  return made
}

const check = (one: EngineBench, read: string) => run(one, { kind: 'check', read: parseReadChoice(read) })

function historyOf(one: EngineBench) {
  const history = one.ledger.repository(one.profile, 1)
  if (history === null) throw new Error('no repository')
  return history
}

describe('a check', () => {
  it('is recorded with what it proved, of the packs that the ledger named when it was ordered', async () => {
    const one = await bench(sound)
    const job = await check(one, '1/2')
    expect(job).toMatchObject({ state: 'done', outcome: { bytes: 7000 } })
    const { snapshots, checks, repository } = historyOf(one)
    expect(checks).toEqual([
      {
        type: 'checked',
        time: begin,
        job: job.id,
        profile: one.profile,
        repository,
        epoch: 1,
        read: '1/2',
        began: job.ordered,
        entries: (snapshots[0]?.entry ?? 0) + 1,
        slotCount: 256,
        slots: 'a'.repeat(64),
        packs,
        code: null,
        entry: one.ledger.size - 2,
      },
    ])
  })

  it('is recorded with what it proved although it found a fault, as which it ends', async () => {
    const fault = new RestoreError('SNAPSHOT_DELETED', 'a snapshot is gone')
    const one = await bench(async plan => ({ ...(await sound(plan, {} as Examination)), fault }))
    const job = await check(one, 'all')
    expect(job).toMatchObject({ state: 'failed', outcome: null, error: { code: 'SNAPSHOT_DELETED' } })
    expect(historyOf(one).checks).toMatchObject([{ slots: 'f'.repeat(64), code: 'SNAPSHOT_DELETED' }])
  })

  it('without a verdict that can be believed proves nothing', async () => {
    const one = await bench(async () => Promise.reject(new RestoreError('VERDICT_INVALID', 'no verdict')))
    expect(await check(one, 'all')).toMatchObject({ state: 'failed', error: { code: 'VERDICT_INVALID' } })
    expect(historyOf(one).checks).toEqual([])
  })

  it('that came to an end too early proves nothing', async () => {
    const fault = new RestoreError('CHECK_FAILED', 'another passphrase')
    const one = await bench(async () => ({ fault, proven: null, outcome }))
    expect(await check(one, 'all')).toMatchObject({ state: 'failed', error: { code: 'CHECK_FAILED' } })
    expect(historyOf(one).checks).toEqual([])
  })

  it('does not claim what a backup stores while it runs, and does not look at it', async () => {
    const seen: number[] = []
    const one: EngineBench = await bench(async (plan, { history }) => {
      seen.push(history.snapshots.length)
      await run(one)
      seen.push(history.snapshots.length)
      return sound(plan, {} as Examination)
    })
    await check(one, 'all')
    const { snapshots, checks } = historyOf(one)
    expect([seen, snapshots.length]).toEqual([[1, 1], 2])
    expect(checks[0]?.entries).toBe((snapshots[0]?.entry ?? 0) + 1)
    expect(checks[0]?.entries).toBeLessThanOrEqual(snapshots[1]?.entry ?? 0)
  })

  it('begins with what was not read for the longest time, as the ledger tells after a restart too', async () => {
    const clock = newClock()
    const orders: number[][] = []
    const one = await bench(async (plan, examination) => {
      orders.push(plan.order.slice(0, 3))
      return sound(plan, examination)
    }, clock)
    clock.time = onDay(0.5)
    await check(one, '1/2')
    clock.time = onDay(1)
    await one.restart()
    await check(one, '5%')
    expect(orders).toEqual([
      [0, 2, 4],
      [1, 3, 5],
    ])
  })
})

describe('a cycle that was not kept', () => {
  it('is told by the check that comes too late, and is over with it', async () => {
    const clock = newClock()
    const one = await bench(sound, clock)
    clock.time = onDay(41)
    const late = await check(one, '30d')
    expect(late.outcome?.warnings).toEqual([
      'some data had not been read for 41 days when this check began; a cycle of 30 days wants one every 7.5 days',
    ])
    clock.time = onDay(48)
    expect((await check(one, '30d')).outcome?.warnings).toEqual([])
  })
})

describe('what dom0 says of a profile’s data', () => {
  const profile = {
    name: 'nightly' as EngineBench['profile'],
    checkWithinDays: 7,
    drill: null,
    maxAgeDays: null,
    schedule: null,
  }
  const stateOf = (one: EngineBench, now: Date, wanted: object = {}) => {
    const { unreadSince, alarms } = profileState({ ...profile, ...wanted }, [historyOf(one)], begin, now)
    return { unreadSince, alarms }
  }

  it('is since when all of it was read, and an alarm beyond the sealed days', async () => {
    const clock = newClock()
    const one = await bench(sound, clock)
    const state = () => stateOf(one, clock.now())
    clock.time = onDay(7)
    expect(state()).toEqual({ unreadSince: begin, alarms: [] })
    clock.time = onDay(7 + 1 / day)
    const due = new Date(begin.getTime() + 7 * day)
    expect(state()).toEqual({
      unreadSince: begin,
      alarms: [
        {
          code: 'CHECK_OVERDUE',
          message: `no full cycle within 7 days: some data of 'nightly' was read last, or stored, at ${begin.toISOString()}`,
          time: due,
        },
      ],
    })
    expect(stateOf(one, clock.now(), { checkWithinDays: null }).alarms).toEqual([])
    await check(one, '1/2')
    expect(state().alarms).toHaveLength(1)
    clock.time = onDay(8)
    await check(one, '2/2')
    expect(state()).toEqual({ unreadSince: new Date(begin.getTime() + 7 * day + 1), alarms: [] })
  })

  it('is nothing while nothing is stored', () => {
    expect(profileState(profile, [], begin, begin)).toMatchObject({ unreadSince: null, alarms: [] })
  })

  it('counts nothing that a check of the structure has seen', async () => {
    const clock = newClock()
    const one = await bench(sound, clock)
    clock.time = onDay(9)
    await check(one, 'structure')
    expect(stateOf(one, clock.now())).toMatchObject({
      unreadSince: begin,
      alarms: [{}],
    })
  })
})
