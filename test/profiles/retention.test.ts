import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSnapshotId, type SnapshotId } from '../../src/base/names.ts'
import { believedTimes } from '../../src/profiles/believed-times.ts'
import { holdEnd } from '../../src/profiles/holds.ts'
import { type Judged, judgeRetention, type Retention } from '../../src/profiles/retention.ts'

const hour = 3_600_000
const day = 24 * hour
const start = Date.parse('2026-03-02T12:00:00Z')
/** The last that there is. */
const farFuture = new Date(8.64e15)
const nobody = () => null

interface Recorded {
  readonly snapshotId: SnapshotId
  readonly time: Date
}

const rules: Retention = {
  keepLast: 0,
  keepHourly: 0,
  keepDaily: 0,
  keepWeekly: 0,
  keepMonthly: 0,
  keepYearly: 0,
  keepWithinDays: 0,
}

function recorded(times: readonly (number | string)[]): Recorded[] {
  return times.map((time, at) => ({
    snapshotId: parseSnapshotId(at.toString(16).padStart(64, '0')),
    time: new Date(time),
  }))
}

const days = (count: number, first = start) => Array.from({ length: count }, (_, at) => first + at * day)

/** Positions of what is kept. */
function keptOf(judged: readonly Judged<Recorded>[]): number[] {
  return [...judged.entries()].filter(([, { reasons }]) => reasons.length > 0).map(([at]) => at)
}

function kept(retention: Partial<Retention>, snapshots: readonly Recorded[], now = farFuture): number[] {
  return keptOf(judgeRetention({ ...rules, ...retention }, snapshots, nobody, now))
}

const times = fc.array(fc.integer({ min: 0, max: 60 * day }), { minLength: 1, maxLength: 40 }).map(gaps => {
  let at = start
  return gaps.map(gap => {
    at += gap
    return at
  })
})
const wildTimes = fc.array(fc.integer({ min: 0, max: 200 * 365 * day }), { minLength: 1, maxLength: 40 })
const count = fc.integer({ min: 0, max: 8 })
const retentions = fc
  .record({
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithinDays: fc.integer({ min: 0, max: 400 }),
  })
  .filter(one => Object.values(one).some(rule => rule > 0))

describe('each rule keeps the newest of every period that has one', () => {
  test.each<[string, Partial<Retention>, readonly (number | string)[], number[]]>([
    ['last', { keepLast: 2 }, days(5), [3, 4]],
    ['more than there are', { keepLast: 9 }, days(3), [0, 1, 2]],
    [
      'hourly',
      { keepHourly: 2 },
      ['2026-03-02T10:00Z', '2026-03-02T10:59Z', '2026-03-02T12:00Z', '2026-03-02T12:01Z'],
      [1, 3],
    ],
    [
      'daily, by UTC',
      { keepDaily: 3 },
      ['2026-03-01T23:59:59Z', '2026-03-02T00:00Z', '2026-03-02T23:59Z', '2026-03-09T00:00Z'],
      [0, 2, 3],
    ],
    [
      'weekly, from Monday, over the end of a year',
      { keepWeekly: 3 },
      ['2025-12-28T12:00Z', '2025-12-29T12:00Z', '2026-01-04T12:00Z', '2026-01-05T12:00Z'],
      [0, 2, 3],
    ],
    [
      'monthly',
      { keepMonthly: 2 },
      ['2025-12-31T23:00Z', '2026-01-01T00:00Z', '2026-01-31T23:59Z', '2026-02-01T00:00Z'],
      [2, 3],
    ],
    ['yearly', { keepYearly: 2 }, ['2023-06-01T00:00Z', '2024-06-01T00:00Z', '2026-01-01T00:00Z'], [1, 2]],
    ['within, of the newest and not of now', { keepWithinDays: 2 }, days(5), [3, 4]],
    ['the union of rules', { keepLast: 1, keepYearly: 2 }, ['2024-06-01T00:00Z', ...days(3)], [0, 3]],
  ])('%s', (_, retention, given, expected) => {
    expect(kept(retention, recorded(given))).toEqual(expected)
  })

  test('and says why', () => {
    const judged = judgeRetention(
      { ...rules, keepLast: 1, keepDaily: 2, keepWithinDays: 1 },
      recorded(days(3)),
      id => (id.endsWith('0') ? new Date(start + 30 * day) : null),
      farFuture,
    )
    expect(judged.map(({ reasons }) => reasons)).toEqual([
      ['held'],
      ['daily'],
      ['newest', 'last', 'daily', 'within'],
    ])
  })
})

describe('whatever the rules and the times', () => {
  test('the newest is kept', () => {
    fc.assert(
      fc.property(retentions, wildTimes, fc.date({ noInvalidDate: true }), (retention, given, now) => {
        expect(kept(retention, recorded(given), now)).toContain(given.length - 1)
      }),
    )
  })

  test('what is held is kept until its date, and a hold forgets nothing', () => {
    fc.assert(
      fc.property(retentions, times, fc.nat(), (retention, given, seed) => {
        const snapshots = recorded(given)
        const wanted = snapshots[seed % snapshots.length]?.snapshotId
        const until = (end: number) => (id: SnapshotId) => (id === wanted ? new Date(end) : null)
        const newest = given.at(-1) ?? 0
        const held = keptOf(judgeRetention(retention, snapshots, until(newest + 1), farFuture))
        const free = keptOf(judgeRetention(retention, snapshots, nobody, farFuture))
        expect(held).toContain(seed % snapshots.length)
        expect(held).toEqual(expect.arrayContaining(free))
        expect(keptOf(judgeRetention(retention, snapshots, until(newest), farFuture))).toEqual(free)
      }),
    )
  })

  test('a rule that keeps more keeps nothing less', () => {
    const rule = fc.constantFrom(...(Object.keys(rules) as (keyof Retention)[]))
    fc.assert(
      fc.property(retentions, times, rule, (retention, given, name) => {
        const more = { ...retention, [name]: retention[name] + 1 }
        const snapshots = recorded(given)
        expect(kept(more, snapshots)).toEqual(expect.arrayContaining(kept(retention, snapshots)))
      }),
    )
  })

  test('forgetting twice is forgetting once', () => {
    fc.assert(
      fc.property(retentions, times, (retention, given) => {
        const left = kept(retention, recorded(given)).map(at => given[at] ?? 0)
        expect(kept(retention, recorded(left))).toHaveLength(left.length)
      }),
    )
  })

  test('the present can only keep more, wherever a clock puts it', () => {
    fc.assert(
      fc.property(retentions, wildTimes, fc.date({ noInvalidDate: true }), (retention, given, now) => {
        const snapshots = recorded(given)
        expect(kept(retention, snapshots, now)).toEqual(expect.arrayContaining(kept(retention, snapshots)))
      }),
    )
  })

  test('one more backup costs each rule that counts no more than one', () => {
    fc.assert(
      fc.property(retentions, times, fc.nat(500 * day), (retention, given, gap) => {
        const counting = { ...retention, keepWithinDays: 0, keepLast: Math.max(1, retention.keepLast) }
        const before = kept(counting, recorded(given))
        const after = kept(counting, recorded([...given, (given.at(-1) ?? 0) + gap]))
        const lost = before.filter(at => !after.includes(at))
        expect(lost.length).toBeLessThanOrEqual(6)
      }),
    )
  })
})

describe('a clock that was wrong', () => {
  const month = days(30)
  const policy = { keepLast: 3, keepDaily: 14, keepWeekly: 4 }

  test.each([
    ['far ahead', Date.parse('2099-01-01T00:00:00Z')],
    ['far behind', 0],
  ])('%s for one backup costs no other its place', (_, wrong) => {
    const given = [...month.slice(0, 20), wrong, ...month.slice(20)]
    const sound = kept(policy, recorded(month)).map(at => month[at])
    const now = kept(policy, recorded(given)).map(at => given[at])
    expect(now).toEqual([...sound, wrong].sort((a, b) => given.indexOf(a ?? 0) - given.indexOf(b ?? 0)))
    expect(reasonsOf(policy, given)[20]).toEqual(['clock'])
  })

  test('ahead for the newest backup ages no other once it is right again', () => {
    const given = recorded([...month, Date.parse('2099-01-01T00:00:00Z')])
    const right = new Date((month.at(-1) ?? 0) + hour)
    expect(kept({ keepWithinDays: 60 }, given, right)).toHaveLength(31)
    expect(kept(policy, given).length).toBeGreaterThanOrEqual(kept(policy, recorded(month)).length - 1)
  })

  test('set ahead without a backup forgets nothing', () => {
    const given = recorded(month)
    const right = new Date((month.at(-1) ?? 0) + hour)
    for (const retention of [policy, { keepWithinDays: 10 }])
      expect(kept(retention, given, farFuture)).toEqual(kept(retention, given, right))
  })

  test('leaves as many times believed as can be true together', () => {
    fc.assert(
      fc.property(wildTimes, given => {
        const run = given.filter((_, at) => believedTimes(given)[at])
        expect(run).toEqual(run.toSorted((a, b) => a - b))
        expect(run).toHaveLength(longestRunLength(given))
      }),
    )
    const runOf = (given: number[]) => given.filter((_, at) => believedTimes(given)[at])
    expect(runOf([1, 2, 90, 3, 4])).toEqual([1, 2, 3, 4])
    expect(runOf([1, 2, 0, 3])).toEqual([1, 2, 3])
    expect(runOf([50, 1, 2, 2, 3])).toEqual([1, 2, 2, 3])
    expect(runOf([5, 1])).toEqual([1])
    expect(runOf([])).toEqual([])
  })

  test('of the very first backup goes with the one after it', () => {
    const given = [Date.parse('2099-01-01T00:00:00Z'), ...month.slice(0, 3)]
    expect(reasonsOf({ keepDaily: 3 }, given)[0]).toEqual(['clock'])
    expect(reasonsOf({ keepDaily: 2 }, given)[0]).toEqual([])
  })
})

function reasonsOf(retention: Partial<Retention>, given: readonly number[]) {
  const judged = judgeRetention({ ...rules, ...retention }, recorded(given), nobody, farFuture)
  return judged.map(({ reasons }) => reasons)
}

/** By looking at all pairs. */
function longestRunLength(given: readonly number[]): number {
  const lengths: number[] = []
  for (const [at, time] of given.entries())
    lengths[at] =
      1 + Math.max(0, ...given.slice(0, at).map((one, of) => (one <= time ? (lengths[of] ?? 0) : 0)))
  return Math.max(...lengths)
}

describe('the end of a hold', () => {
  const limits = { daysMax: 10, mayEnd: false }
  const now = new Date('2026-03-02T12:00:00Z')

  test.each([
    ['is a whole day', '2026-03-05T01:02:03Z', '2026-03-06T00:00:00Z'],
    ['may be the next midnight', '2026-03-02T12:00:01Z', '2026-03-03T00:00:00Z'],
    ['may be as far ahead as is sealed', '2026-03-13T00:00:00Z', '2026-03-13T00:00:00Z'],
  ])('%s', (_, wanted, expected) => {
    expect(holdEnd(limits, new Date(wanted), now)).toEqual(new Date(expected))
  })

  test.each([
    ['past', limits, '2026-03-01T00:00:00Z'],
    ['now', limits, '2026-03-02T00:00:00Z'],
    ['further ahead', limits, '2026-03-13T00:00:01Z'],
    ['at all where none is sealed', { ...limits, daysMax: 0 }, '2026-03-03T00:00:00Z'],
  ])('is not %s', (_, sealed, wanted) => {
    expect(holdEnd(sealed, new Date(wanted), now)).toBeNull()
  })
})
