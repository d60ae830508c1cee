import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseSnapshotId } from '../../src/base/names.ts'
import { type DrillableSnapshot, drillStanding, nextDrillDue, type PastDrill } from '../../src/drill/due.ts'

const day = 86_400_000
const began = new Date('2026-11-01T00:00:00Z')
const onDay = (days: number) => new Date(began.getTime() + days * day)
const rules = { levels: ['objects', 'data'], withinDays: 8 } as const
const snapshot = (entry: number): DrillableSnapshot => ({
  entry,
  snapshot: parseSnapshotId(createHash('sha256').update(`snapshot ${entry}`).digest('hex')),
})
const drill = (of: DrillableSnapshot, entry: number, changes: Partial<PastDrill> = {}): PastDrill => ({
  entry,
  snapshot: of.snapshot,
  time: onDay(entry / 100),
  passed: true,
  levels: ['objects', 'data'],
  ...changes,
})
const [first, second] = [snapshot(3), snapshot(7)]

describe('due', () => {
  test.each([
    [5.9, false, null],
    [6, true, null],
    [8, true, null],
    [8.1, true, onDay(8)],
  ])('never drilled, %s of 8 days after the repository was made', (days, due, overdue) => {
    expect(drillStanding(rules, [first], [], began, onDay(days), 'seed')).toMatchObject({ due, overdue })
  })

  test('a passed drill begins the days anew; its snapshot may be gone', () => {
    const standing = drillStanding(rules, [second], [drill(first, 500)], began, onDay(12), 'seed')
    expect(standing).toEqual({ due: true, overdue: null, next: [second.snapshot] })
    const later = drillStanding(rules, [second], [drill(first, 500)], began, onDay(13.5), 'seed')
    expect(later.overdue).toEqual(onDay(13))
    expect(nextDrillDue(onDay(5), 8)).toEqual(onDay(13))
  })

  test.each<[string, Partial<PastDrill>]>([
    ['failed', { passed: false }],
    ['proved less than is sealed now', { levels: ['objects'] }],
    ['is said to have ended tomorrow', { time: onDay(21) }],
  ])('a drill that %s is none', (_, changes) => {
    const standing = drillStanding(rules, [first], [drill(first, 500, changes)], began, onDay(20), 'seed')
    expect(standing).toEqual({ due: true, overdue: onDay(8), next: [first.snapshot] })
  })

  test('without days in the rules, or without a snapshot, there is no alarm', () => {
    const never = drillStanding({ ...rules, withinDays: null }, [first], [], began, onDay(900), 'seed')
    expect(never).toEqual({ due: false, overdue: null, next: [first.snapshot] })
    expect(drillStanding(rules, [], [], began, onDay(900), 'seed')).toEqual({
      due: false,
      overdue: null,
      next: [],
    })
    expect(nextDrillDue(began, null)).toBeNull()
    expect(nextDrillDue(began, Number.MAX_SAFE_INTEGER)?.getTime()).toBe(8.64e15)
  })
})

describe('which snapshot', () => {
  const many = Array.from({ length: 9 }, (_, at) => snapshot(10 + at))
  const newest = snapshot(18)
  const nextOf = (drills: readonly PastDrill[], seed = 'seed') =>
    drillStanding(rules, many, drills, began, onDay(1), seed).next

  test('the newest and an older one; after the newest has passed, an older one alone', () => {
    expect(nextOf([])).toHaveLength(2)
    expect(nextOf([])[0]).toBe(newest.snapshot)
    expect(nextOf([drill(newest, 20)])).not.toContain(newest.snapshot)
    expect(nextOf([drill(newest, 20)])).toHaveLength(1)
    expect(nextOf([drill(newest, 20, { passed: false })])[0]).toBe(newest.snapshot)
    expect(drillStanding(rules, [newest], [drill(newest, 20)], began, onDay(1), 'seed').next).toEqual([
      newest.snapshot,
    ])
  })

  test('the lot is that of the seed', () => {
    const drawn = Array.from({ length: 40 }, (_, at) => nextOf([], `seed ${at}`)[1])
    expect(new Set(drawn).size).toBe(4) // the half of eight that has waited the longest
    expect(nextOf([], 'seed 7')).toEqual(nextOf([], 'seed 7'))
  })

  /** Drills one after another, between which snapshots come and go; answers what was drilled as the older one. */
  function play(
    choices: readonly { readonly come: number; readonly go: number; readonly passes: boolean }[],
    seed: string,
    observe: (older: readonly DrillableSnapshot[], next: readonly string[]) => void,
  ): void {
    let snapshots = many
    const drills: PastDrill[] = []
    let last = 100
    const entry = () => {
      last += 1
      return last
    }
    for (const [at, { come, go, passes }] of choices.entries()) {
      for (let count = 0; count < come; count += 1) snapshots = [...snapshots, snapshot(entry())]
      const gone = Math.min(go, snapshots.length - 2)
      snapshots = snapshots.filter((_, place) => place < 1 || place > gone)
      const { next } = drillStanding(rules, snapshots, drills, began, onDay(1), `${seed} ${at}`)
      observe(snapshots.slice(0, -1), next)
      const taken = snapshots.filter(one => next.includes(one.snapshot))
      for (const one of taken) drills.push(drill(one, entry(), { passed: passes, time: began }))
    }
  }

  test('the newest comes first, and every older snapshot has its turn within a cycle, whatever comes, goes or fails', () => {
    const choice = fc.record({ come: fc.nat(2), go: fc.nat(2), passes: fc.boolean() })
    fc.assert(
      fc.property(fc.array(choice, { minLength: 30, maxLength: 60 }), fc.string(), (choices, seed) => {
        const waited = new Map<string, { drills: number; most: number }>()
        play(choices, seed, (older, next) => {
          expect(next.length).toBeGreaterThan(0)
          for (const one of [...waited.keys()])
            if (!older.some(({ snapshot: id }) => id === one)) waited.delete(one)
          for (const { snapshot: id } of older) {
            const { drills, most } = waited.get(id) ?? { drills: 0, most: 0 }
            const now = { drills: drills + 1, most: Math.max(most, older.length) }
            expect(now.drills).toBeLessThanOrEqual(2 * now.most)
            if (next.includes(id)) waited.delete(id)
            else waited.set(id, now)
          }
        })
      }),
      { numRuns: 100, seed: 7 },
    )
  })

  test('without coming and going, each of n is drilled in 2n drills', () => {
    const drilled = new Set<string>()
    const still = Array.from({ length: 16 }, () => ({ come: 0, go: 0, passes: true }))
    play(still, 'seed', (_, next) => {
      for (const id of next) drilled.add(id)
    })
    expect(drilled).toEqual(new Set(many.map(one => one.snapshot)))
  })
})
