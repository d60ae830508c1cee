import { describe, expect, it, vi } from 'vitest'
import { parseDigest, parseRepositoryName } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { slotOf, slotSetOf } from '../../src/base/slots.ts'
import { UnnamedPacks } from '../../src/engine/unnamed-packs.ts'
import { hasEnded } from '../../src/qrexec/calls/orders.ts'
import type { Examiner } from '../../src/repository/examination.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { objectName } from '../../src/storage/object-store.ts'
import { run } from '../support/engine.ts'
import { failingAt, type PruneBench, profileWith, pruneBench } from './prune-bench.ts'

const day = 24 * 3_600_000
const outcome = {
  snapshot: undefined,
  bytes: 0,
  bytesStored: undefined,
  volumes: undefined,
  warnings: [],
  objects: 0,
  snapshots: 0,
  prune: undefined,
  drill: undefined,
}

/** A sandbox that is held until `held` is over, reads what it must, and finds nothing wrong. */
const sound = (held: () => Promise<void>): Examiner => ({
  async check(_examination, { order, must }) {
    await held()
    const slots = slotSetOf(order.slice(0, must))
    return { fault: null, proven: { slots, packs: summarisePacks([]) }, outcome }
  },
  restore: () => Promise.reject(new Error('no restore')),
})

/** One snapshot, and a backup a day later that was interrupted when all packs were stored. */
async function interrupted(held = async () => {}) {
  const one = await pruneBench(profileWith('{ keep_last: 1 }'), { examiner: sound(held) })
  await one.backUp()
  const before = packsOf(one)
  await failingAt(one, 'index', () => one.backUp(1024, 1024))
  const left = packsOf(one).filter(id => !before.includes(id))
  expect(left.length).toBeGreaterThan(0)
  return { one, left, stored: one.clock.time }
}

const packsOf = (one: PruneBench) =>
  [...one.storage.objects.keys()]
    .filter(name => name.startsWith('data/'))
    .map(name => parseDigest(name.slice(name.lastIndexOf('/') + 1)))

const check = (one: PruneBench, read: string) => run(one, { kind: 'check', read: parseReadChoice(read) })
const claims = (one: PruneBench) => one.history().checks.map(({ began }) => began.getTime())

describe('a pack that an interrupted backup has stored', () => {
  it.each([
    ['all', () => false],
    ['1/2', (slot: number) => slot % 2 === 1],
    ['structure', () => true],
  ] as const)('is gone on with after a check of %s only if its slot was not read', async (read, isLeft) => {
    const { one, left } = await interrupted()
    one.clock.time += 20 * day
    expect((await check(one, read)).error).toBeNull()
    one.clock.time += day
    const before = packsOf(one)
    expect((await run(one, { kind: 'backup' })).error).toBeNull()
    const made = packsOf(one).filter(id => !before.includes(id))
    const named = [...left.filter(id => isLeft(slotOf(id))), ...made]
    const sizes = named.map(id => ({ id, bytes: one.storage.body(objectName('data', id)).byteLength }))
    expect(one.history().snapshots.at(-1)?.packs).toEqual(summarisePacks(sizes))
    expect((await one.check()).sound).toBe(true)
  })

  it('is not spared by a prune once no backup may go on with it', async () => {
    const { one, left } = await interrupted()
    one.clock.time += day
    await check(one, 'all')
    expect((await one.prune()).error).toBeNull()
    expect(packsOf(one).filter(id => left.includes(id))).toEqual([])
  })
})

describe('a check beside a backup', () => {
  it('says no later time than since when that has stored packs which it names later', async () => {
    const one = await pruneBench(profileWith('{ keep_last: 1 }'), { examiner: sound(async () => {}) })
    await one.backUp()
    const reached = Promise.withResolvers<void>()
    const letGo = Promise.withResolvers<void>()
    one.storage.faults.before = (operation, name) => {
      if (operation !== 'put' || !name.startsWith('index/')) return
      reached.resolve()
      return letGo.promise
    }
    const backup = one.backUp()
    await reached.promise
    const stored = one.clock.time
    one.clock.time += 5 * day
    await check(one, 'all')
    letGo.resolve()
    await backup
    await check(one, 'all')
    expect(claims(one)).toEqual([stored, stored + 5 * day])
  })

  it('says no later time than when packs were stored that the backup has adopted meanwhile', async () => {
    const held = Promise.withResolvers<void>()
    const { one, stored } = await interrupted(() => held.promise)
    one.clock.time += 5 * day
    const checked = check(one, 'all')
    await vi.waitFor(() =>
      expect(one.orders.board.list().some(job => job.kind === 'check' && job.started !== null)).toBe(true),
    )
    expect((await run(one, { kind: 'backup' })).error).toBeNull()
    expect(one.orders.board.list().filter(job => !hasEnded(job))).toHaveLength(1)
    held.resolve()
    expect((await checked).error).toBeNull()
    expect(claims(one)).toEqual([stored])
  })
})

describe('packs that no index names yet', () => {
  const here = parseRepositoryName('nightly-1')
  const there = parseRepositoryName('other-1')
  const time = (hours: number) => new Date(hours * 3_600_000)

  it('bound what a check of their repository says, until the backup has ended', () => {
    const packs = new UnnamedPacks()
    {
      using backup = packs.storing(here, time(5))
      using _ = packs.storing(there, time(1))
      using check = packs.claiming(here, time(7))
      expect(backup.adopts(time(3))).toBe(true)
      expect(backup.adopts(time(4))).toBe(true)
      using later = packs.claiming(here, time(8))
      expect([check.say(), later.say()]).toEqual([time(3), time(3)])
    }
    using check = packs.claiming(here, time(9))
    expect(check.say()).toEqual(time(9))
  })

  it('are not gone on with when a check has said what would not be true of them', () => {
    const packs = new UnnamedPacks()
    using backup = packs.storing(here, time(9))
    {
      using check = packs.claiming(here, time(7))
      expect(check.say()).toEqual(time(7))
      expect([backup.adopts(time(6)), backup.adopts(time(7))]).toEqual([false, true])
    }
  })
})
