import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { parseSnapshotId } from '../../src/base/names.ts'
import { judgeRetention, type KeepReason, type Retention } from '../../src/profiles/retention.ts'
import { encodeSnapshot } from '../../src/repository/snapshot.ts'
import { sealUnpacked } from '../../src/repository/unpacked.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { objectName } from '../../src/storage/object-store.ts'
import { never, newRepository } from './fixtures.ts'
import { StockRestic } from './stock-restic.ts'

/* The rules of retention against `restic forget --dry-run` on the same times. */

const hour = 3_600_000
const day = 24 * hour
let restic: StockRestic

beforeAll(async () => {
  restic = await StockRestic.make()
})
afterAll(() => restic[Symbol.asyncDispose]())

const policies: readonly Partial<Retention>[] = [
  { keepLast: 3 },
  { keepLast: 1000 },
  { keepHourly: 5 },
  { keepDaily: 4 },
  { keepWeekly: 6 },
  { keepMonthly: 12 },
  { keepYearly: 2 },
  { keepYearly: 100 },
  { keepWithinDays: 1 },
  { keepWithinDays: 30 },
  { keepWithinDays: 3650 },
  { keepLast: 3, keepDaily: 14, keepWeekly: 8, keepMonthly: 12 },
  { keepHourly: 24, keepDaily: 7, keepWeekly: 4, keepMonthly: 6, keepYearly: 5, keepWithinDays: 10 },
]

const none: Retention = {
  keepLast: 0,
  keepHourly: 0,
  keepDaily: 0,
  keepWeekly: 0,
  keepMonthly: 0,
  keepYearly: 0,
  keepWithinDays: 0,
}

/** restic's option and reason for each rule. */
const rules: readonly [keyof Retention, string, KeepReason, RegExp][] = [
  ['keepLast', '--keep-last', 'last', /^last/],
  ['keepHourly', '--keep-hourly', 'hourly', /^hourly/],
  ['keepDaily', '--keep-daily', 'daily', /^daily/],
  ['keepWeekly', '--keep-weekly', 'weekly', /^weekly/],
  ['keepMonthly', '--keep-monthly', 'monthly', /^monthly/],
  ['keepYearly', '--keep-yearly', 'yearly', /^yearly/],
  ['keepWithinDays', '--keep-within', 'within', /^within/],
]

function optionsOf(policy: Partial<Retention>): string[] {
  return rules.flatMap(([name, option]) => {
    const count = policy[name]
    if (count === undefined) return []
    return [option, name === 'keepWithinDays' ? `${count}d` : String(count)]
  })
}

interface Forgotten {
  readonly reasons: readonly {
    readonly snapshot: { readonly time: string }
    readonly matches: readonly string[]
  }[]
  readonly remove: readonly { readonly id: string }[] | null
}

/** A repository of nothing but snapshots of these times. */
async function repositoryOf(name: string, times: readonly number[]) {
  const root = path.join(restic.directory, name)
  const store = new LocalStore(root, systemEnvironment)
  using created = await newRepository(store)
  const snapshots = []
  for (const time of times) {
    const plain = encodeSnapshot({ time: new Date(time), tree: 'ab'.repeat(32), tags: [] })
    const { id, body } = await sealUnpacked(created.repository.key, plain, systemEnvironment.entropy)
    await store.put(objectName('snapshots', id), body, never)
    snapshots.push({ snapshotId: parseSnapshotId(id), time: new Date(time) })
  }
  return { root, snapshots }
}

async function forget(root: string, policy: Partial<Retention>): Promise<Forgotten> {
  const options = ['--no-lock', '--dry-run', '--json', ...optionsOf(policy)]
  const stdout = await restic.run(root, 'forget', ...options)
  const [group] = JSON.parse(stdout) as Forgotten[]
  if (group === undefined) throw new Error('restic saw no snapshot')
  return group
}

const newest = Date.parse('2026-03-01T10:20:30Z')

/** The same every time: gaps of minutes, days, months, and the ends of weeks, months and years. */
function mixedTimes(): number[] {
  let state = 20_261_124
  const random = (max: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state % max
  }
  const times = [newest]
  const gaps = [20 * 60_000, 3 * hour, day, 9 * day, 70 * day]
  for (let at = newest; times.length < 90; ) {
    at -= 1 + random(gaps[random(gaps.length)] ?? hour)
    times.push(at)
  }
  const ends = [
    '2025-12-28T23:59:59Z',
    '2025-12-29T00:00:00Z',
    '2025-12-31T23:59:59Z',
    '2026-01-01T00:00:00Z',
  ]
  return [...times, ...ends.map(Date.parse)].sort((a, b) => a - b)
}

describe('the rules of retention are those of stock restic', () => {
  const series: Readonly<Record<string, readonly number[]>> = {
    mixed: mixedTimes(),
    hourly: Array.from({ length: 60 }, (_, at) => newest - (59 - at) * hour),
    daily: Array.from({ length: 60 }, (_, at) => newest - (59 - at) * day),
    single: [newest],
  }
  test.each(Object.entries(series))('%s snapshots', async (name, times) => {
    const { root, snapshots } = await repositoryOf(name, times)
    for (const policy of policies) {
      const theirs = await forget(root, policy)
      const ours = judgeRetention({ ...none, ...policy }, snapshots, () => null, new Date(newest))
      const matches = new Map(theirs.reasons.map(one => [Date.parse(one.snapshot.time), one.matches]))
      const removed = (theirs.remove ?? []).map(({ id }) => id)
      const forgotten = ours.filter(({ reasons }) => reasons.length === 0)
      const idsOf = forgotten.map(({ snapshot }) => String(snapshot.snapshotId))
      expect(idsOf.sort(), JSON.stringify(policy)).toEqual(removed.sort())
      for (const { snapshot, reasons } of ours) {
        const said = matches.get(snapshot.time.getTime()) ?? []
        const expected = rules.filter(([, , , word]) => said.some(one => word.test(one)))
        const named = reasons.filter(one => one !== 'newest')
        expect(named.sort(), JSON.stringify(policy)).toEqual(expected.map(([, , reason]) => reason).sort())
      }
    }
  })
})
