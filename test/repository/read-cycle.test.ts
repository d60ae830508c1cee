import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Digest, parseDigest } from '../../src/base/names.ts'
import { dayMilliseconds as day } from '../../src/base/quantities.ts'
import { parseReadChoice, type Reading } from '../../src/base/read-choice.ts'
import { slotOf, slotSetOf, slotsCount } from '../../src/base/slots.ts'
import {
  chooseSlots,
  oldestOf,
  type PastReading,
  planReading,
  slotTimes,
} from '../../src/repository/read-cycle.ts'

const created = new Date('2026-01-01T00:00:00Z')
const at = (days: number) => new Date(created.getTime() + days * day)

interface Pack {
  readonly id: Digest
  readonly bytes: number
  readonly stored: Date
  /** When it was read and right; what the ledger is to prove, kept here pack by pack. */
  readonly reads: Date[]
}

function pack(slot: number, bytes = 1000, stored = created): Pack {
  const id = parseDigest(slot.toString(16).padStart(2, '0').padEnd(64, '7'))
  return { id, bytes, stored, reads: [] }
}

function choiceOf(reading: Reading) {
  switch (reading.kind) {
    case 'share':
      return parseReadChoice(`${reading.percent}%`)
    case 'part':
      return parseReadChoice(`${reading.part}/${reading.of}`)
    case 'cycle':
      return parseReadChoice(`${reading.days}d`)
    default:
      return parseReadChoice(reading.kind)
  }
}

/** A repository whose packs remember for themselves when they were read. */
class World {
  readonly packs: Pack[] = []
  readonly past: PastReading[] = []

  times(now: Date) {
    return slotTimes(this.past, created, now)
  }

  /** `fails`: slots in which something is found to be wrong. */
  check(reading: Reading, now: Date, fails: ReadonlySet<number> = new Set()): readonly Pack[] {
    const there = this.packs.filter(({ stored }) => stored < now)
    const chosen = chooseSlots(planReading(reading, this.past, created, now), there)
    const proven = new Set([...chosen].filter(slot => !fails.has(slot)))
    const read = there.filter(({ id }) => proven.has(slotOf(id)))
    for (const { reads } of read) reads.push(now)
    this.past.push({ began: now, slots: slotSetOf(proven), read: choiceOf(reading) })
    return read
  }

  /** Until `end`, the longest time for which one pack was neither stored nor read. */
  longestUnread(end: Date): number {
    const gaps = this.packs.flatMap(({ stored, reads }) => {
      const moments = [stored, ...reads, end].map(moment => moment.getTime()).sort((a, b) => a - b)
      return moments.slice(1).map((moment, index) => moment - (moments[index] ?? 0))
    })
    return Math.max(0, ...gaps)
  }
}

const slots = fc.nat(slotsCount - 1)
const anyReading: fc.Arbitrary<Reading> = fc.oneof(
  fc.constantFrom<Reading>({ kind: 'structure' }, { kind: 'all' }),
  fc.integer({ min: 1, max: 100 }).map((percent): Reading => ({ kind: 'share', percent })),
  fc
    .integer({ min: 1, max: 256 })
    .chain(of => fc.integer({ min: 1, max: of }).map((part): Reading => ({ kind: 'part', part, of }))),
  fc.integer({ min: 1, max: 60 }).map((days): Reading => ({ kind: 'cycle', days })),
)
/** What happens between two checks of the cycle: backups, other checks, and checks that find something wrong. */
const anyEvent = fc.record({
  moment: fc.double({ min: 0, max: 0.999, noNaN: true }),
  stored: fc.array(fc.tuple(slots, fc.integer({ min: 1, max: 100 })), { maxLength: 6 }),
  check: fc.option(fc.tuple(anyReading, fc.array(slots, { maxLength: 300 }))),
})
type Event = typeof anyEvent extends fc.Arbitrary<infer T> ? T : never

function happen(world: World, { stored, check }: Event, now: Date): void {
  if (check !== null) world.check(check[0], now, new Set(check[1]))
  for (const [slot, bytes] of stored) world.packs.push(pack(slot, bytes, now))
}

describe('a cycle of N days', () => {
  test('with a check every quarter of N reads every pack in any N days, whatever else happens', () => {
    const days = fc.constantFrom(1, 2, 7, 30)
    const steps = fc.array(
      fc.record({
        gap: fc.double({ min: 0.001, max: 0.25, noNaN: true }),
        events: fc.array(anyEvent, { maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 40 },
    )
    fc.assert(
      fc.property(days, steps, (N, steps) => {
        const world = new World()
        let now = created
        for (const { gap, events } of steps) {
          const next = new Date(now.getTime() + Math.floor(gap * N * day))
          const between = (moment: number) =>
            new Date(now.getTime() + moment * (next.getTime() - now.getTime()))
          for (const event of events.toSorted((a, b) => a.moment - b.moment))
            happen(world, event, between(event.moment))
          world.check({ kind: 'cycle', days: N }, next)
          now = next
        }
        expect(world.longestUnread(now)).toBeLessThanOrEqual(N * day)
      }),
      { numRuns: 300 },
    )
  })

  test('holds for any N days with one check in their last quarter, though there was none for years', () => {
    fc.assert(
      fc.property(
        fc.array(anyEvent, { maxLength: 20 }),
        fc.integer({ min: 30, max: 4000 }),
        fc.double({ min: 0.75, max: 1, noNaN: true }),
        (events, start, place) => {
          const world = new World()
          for (const event of events.toSorted((a, b) => a.moment - b.moment))
            happen(world, event, at(event.moment * start))
          const before = [...world.packs]
          const now = at(start + place * 30)
          world.check({ kind: 'cycle', days: 30 }, now)
          for (const { reads, stored } of before)
            expect(reads.some(read => read >= at(start)) || stored > at(start)).toBe(true)
        },
      ),
    )
  })

  test('does not read what need not be read yet, and spreads what was read at once', () => {
    const world = new World()
    for (let index = 0; index < 4096; index++) world.packs.push(pack(index % slotsCount))
    world.check({ kind: 'all' }, at(0.1))
    const perDay: number[] = []
    for (let today = 1; today <= 90; today++)
      perDay.push(world.check({ kind: 'cycle', days: 28 }, at(today)).length / 4096)
    // In three quarters of the cycle everything is read once: 1/21 a day, rounded up to whole slots.
    expect(Math.max(...perDay)).toBeLessThan(1 / 21 + 2 / slotsCount)
    expect(Math.min(...perDay)).toBeGreaterThan(1 / 21 - 2 / slotsCount)
  })

  test('does its own share beside other checks, and again nothing that was just read', () => {
    const world = new World()
    for (let index = 0; index < 1024; index++) world.packs.push(pack(index % slotsCount))
    const perDay: number[] = []
    for (let today = 1; today <= 60; today++) {
      for (let hour = 6; hour < 24; hour += 6)
        world.check({ kind: 'part', part: 7, of: 256 }, at(today - hour / 24))
      perDay.push(world.check({ kind: 'cycle', days: 28 }, at(today)).length / 1024)
    }
    expect(Math.max(...perDay)).toBeLessThan(1 / 21 + 2 / slotsCount)
    world.check({ kind: 'all' }, at(100))
    expect(world.check({ kind: 'cycle', days: 28 }, at(100.5)).length / 1024).toBeLessThan(
      1 / 42 + 2 / slotsCount,
    )
  })

  test('with checks that are too rare never looks better than it is', () => {
    const steps = fc.array(
      fc.record({ gap: fc.double({ min: 0.01, max: 3, noNaN: true }), event: anyEvent }),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(steps, steps => {
        const world = new World()
        let now = created
        for (const { gap, event } of steps) {
          now = new Date(now.getTime() + Math.ceil(gap * 7 * day))
          happen(world, event, now)
          const claimed = oldestOf(world.times(now))
          for (const { stored, reads } of world.packs)
            expect(claimed.getTime()).toBeLessThanOrEqual(Math.max(stored.getTime(), ...reads.map(Number)))
        }
      }),
    )
  })

  test('at its very edges', () => {
    const world = new World()
    world.packs.push(pack(1), pack(2))
    const ms = 1 / day
    const due = (days: number) => planReading({ kind: 'cycle', days: 4 }, world.past, created, at(days)).must
    expect(due(3 - ms)).toBe(0)
    expect(due(3)).toBe(slotsCount)
    world.past.push({ began: at(3), slots: slotSetOf([2]), read: parseReadChoice('5%') })
    expect(due(3)).toBe(slotsCount - 1)
    expect(due(6)).toBe(slotsCount)
  })
})

describe('a share', () => {
  test('is at least so many percent of the bytes, and takes its turn', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(slots, fc.integer({ min: 1, max: 1_000_000 })), { minLength: 1, maxLength: 200 }),
        fc.integer({ min: 1, max: 100 }),
        (stored, percent) => {
          const world = new World()
          for (const [slot, bytes] of stored) world.packs.push(pack(slot, bytes))
          const sum = (packs: readonly Pack[]) => packs.reduce((total, { bytes }) => total + bytes, 0)
          const checks = Math.ceil(100 / percent)
          for (let index = 1; index <= checks; index++)
            expect(100 * sum(world.check({ kind: 'share', percent }, at(index)))).toBeGreaterThanOrEqual(
              percent * sum(world.packs),
            )
          for (const { reads } of world.packs) expect(reads.length).toBeGreaterThan(0)
        },
      ),
    )
  })

  test('stops when it has enough', () => {
    const world = new World()
    for (let slot = 0; slot < slotsCount; slot++) world.packs.push(pack(slot))
    expect(world.check({ kind: 'share', percent: 5 }, at(1))).toHaveLength(Math.ceil(slotsCount * 0.05))
    expect(world.check({ kind: 'share', percent: 100 }, at(2))).toHaveLength(slotsCount)
  })
})

describe('a part', () => {
  test('is the one that restic reads, and all parts are everything, once', () => {
    for (const of of [1, 2, 7, 100, 256]) {
      const world = new World()
      for (let slot = 0; slot < slotsCount; slot++) world.packs.push(pack(slot))
      for (let part = 1; part <= of; part++)
        // restic: cmd_check.go, selectPacksByBucket
        for (const { id } of world.check({ kind: 'part', part, of }, at(part)))
          expect(Number.parseInt(id.slice(0, 2), 16) % of).toBe(part - 1)
      for (const { reads } of world.packs) expect(reads).toHaveLength(1)
    }
  })
})

test('all is every slot, structure none, whatever came before', () => {
  const world = new World()
  world.packs.push(pack(1), pack(200))
  expect(world.check({ kind: 'structure' }, at(1))).toEqual([])
  expect(world.past).toEqual([{ began: at(1), slots: '0'.repeat(64), read: 'structure' }])
  expect(world.check({ kind: 'all' }, at(2))).toHaveLength(2)
  expect(world.past.at(-1)).toEqual({ began: at(2), slots: 'f'.repeat(64), read: 'all' })
})

test('an empty repository has nothing unread after a check', () => {
  const world = new World()
  world.check({ kind: 'share', percent: 1 }, at(50))
  expect(oldestOf(world.times(at(51)))).toEqual(at(50))
})

describe('a clock that was wrong', () => {
  test('does not make anything read that was not: what lies in the future counts for nothing', () => {
    const past = [
      { began: at(10), slots: slotSetOf([3]), read: parseReadChoice('5%') },
      { began: at(900), slots: slotSetOf([3, 4]), read: parseReadChoice('30d') },
    ]
    const times = slotTimes(past, created, at(20))
    expect([times[3], times[4]]).toEqual([at(10).getTime(), created.getTime()])
    expect(oldestOf(slotTimes(past, at(900), at(20)))).toEqual(new Date(0))
    const { must } = planReading({ kind: 'cycle', days: 30 }, past, at(900), at(20))
    expect(must).toBe(slotsCount - 1)
  })
})
