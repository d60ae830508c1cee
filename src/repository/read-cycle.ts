import { dayMilliseconds } from '../base/quantities.ts'
import { type ReadChoice, type Reading, readingOf } from '../base/read-choice.ts'
import { type SlotSet, slotOf, slotsCount, slotsOf } from '../base/slots.ts'
import type { ObjectReference } from './format.ts'

/*
 * Which packs a check reads, and what a ledger of such checks proves. Pure.
 *
 * A check reads slots, each with all packs that the ledger names when the check begins. From then on every pack of the
 * slot was read, or was stored, no longer ago than that. A pack that the ledger names later may have been stored before: by
 * a backup that was at work meanwhile, and for that the check says an earlier time; or by one that was interrupted, and with
 * such a pack no backup goes on once its slot was read (`engine/unnamed-packs.ts`, `engine/pack-journal.ts`).
 * So one time for each slot bounds the age of all its packs, whatever is stored or pruned meanwhile, and nothing about a
 * single pack has to be remembered.
 *
 * A cycle of N days reads each slot whose time would otherwise come to be more than N days ago before the next check,
 * if that comes within a quarter of N. So in any N days with a check in the last quarter of them, every pack that was
 * there at their begin has been read: a slot that was not would have been at least three quarters of N old at that
 * check. That holds whatever came before and without any luck. Beyond that, each check reads its share of the bytes, the
 * oldest first, so that not everything comes due at once.
 */

/** A cycle of N days wants a check at least every N/4. */
export const checksPerCycle = 4
export const shareWhole = 1_000_000

const allSlots = Array.from({ length: slotsCount }, (_, slot) => slot)

/** What one check proved: of a `checked` entry in the ledger. */
export interface PastReading {
  /** The packs are those that the ledger named at this time. */
  readonly began: Date
  readonly slots: SlotSet
  /** What it was asked for. */
  readonly read: ReadChoice
}

/** For each slot: every pack in it was read, or stored, at this time or later. Epoch milliseconds. */
export type SlotTimes = readonly number[]

export interface ReadingPlan {
  /** All slots, in the order in which they are read. */
  readonly order: readonly number[]
  /** How many of them are read whatever they hold. */
  readonly must: number
  /** How much of all bytes is read at least, in millionths; whole slots are read until it is reached. */
  readonly share: number
}

/**
 * `created`: when the repository was, before any of its packs. A time after `now` proves nothing: the clock was wrong
 * then, or is now, and in neither case may a pack go unread for longer.
 */
export function slotTimes(past: readonly PastReading[], created: Date, now: Date): SlotTimes {
  const first = created <= now ? created.getTime() : 0
  const times = new Map<number, number>()
  for (const { began, slots } of newestFirst(past, now)) {
    if (times.size === slotsCount) break
    for (const slot of slotsOf(slots)) if (!times.has(slot)) times.set(slot, Math.max(first, began.getTime()))
  }
  return allSlots.map(slot => times.get(slot) ?? first)
}

function newestFirst(past: readonly PastReading[], now: Date): readonly PastReading[] {
  return past.filter(({ began }) => began <= now).sort((a, b) => b.began.getTime() - a.began.getTime())
}

/** Since when all data was read, or stored: what the ledger proves of the pack that was left alone for the longest time. */
export function oldestOf(times: SlotTimes): Date {
  return new Date(Math.min(...times))
}

export const readNothing: ReadingPlan = { order: allSlots, must: 0, share: 0 }
export const readEverything: ReadingPlan = { order: allSlots, must: slotsCount, share: 0 }

/** `past` and `created` as for `slotTimes`. */
export function planReading(
  reading: Reading,
  past: readonly PastReading[],
  created: Date,
  now: Date,
): ReadingPlan {
  const times = slotTimes(past, created, now)
  const order = allSlots.toSorted((a, b) => (times[a] ?? 0) - (times[b] ?? 0) || a - b)
  switch (reading.kind) {
    case 'structure':
      return readNothing
    case 'all':
      return readEverything
    case 'share':
      return { order, must: 0, share: Math.ceil((shareWhole * reading.percent) / 100) }
    case 'part': {
      const wanted = (slot: number) => slot % reading.of === reading.part - 1
      const must = order.filter(wanted)
      return { order: [...must, ...order.filter(slot => !wanted(slot))], must: must.length, share: 0 }
    }
    case 'cycle':
      return { order, ...planCycle(reading.days * dayMilliseconds, times, lastCycleCheck(past, now), now) }
    default:
      return reading satisfies never
  }
}

/** The share is what has grown old since the last check of a cycle, or since everything was read. */
function planCycle(
  cycle: number,
  times: SlotTimes,
  last: number,
  now: Date,
): Pick<ReadingPlan, 'must' | 'share'> {
  const dueAge = cycle - cycle / checksPerCycle
  const age = (time: number) => now.getTime() - time
  const grown = age(Math.max(last, Math.min(...times)))
  return {
    must: times.filter(time => age(time) >= dueAge).length,
    share: Math.min(shareWhole, Math.ceil((shareWhole * grown) / dueAge)),
  }
}

function lastCycleCheck(past: readonly PastReading[], now: Date): number {
  const last = newestFirst(past, now).find(({ read }) => readingOf(read).kind === 'cycle')
  return last?.began.getTime() ?? 0
}

/** The slots that `plan` reads of these packs. Those without a pack cost nothing, and are among them if anything is. */
export function chooseSlots(plan: ReadingPlan, packs: readonly ObjectReference[]): ReadonlySet<number> {
  const { order, must, share } = plan
  const bytesOf = new Array<number>(slotsCount).fill(0)
  for (const { id, bytes } of packs) bytesOf[slotOf(id)] = (bytesOf[slotOf(id)] ?? 0) + bytes
  const total = bytesOf.reduce((sum, bytes) => sum + bytes, 0)
  const chosen = new Set<number>()
  if (must === 0 && share === 0) return chosen
  let bytesChosen = 0
  for (const [place, slot] of order.entries()) {
    const bytes = bytesOf[slot] ?? 0
    if (bytes > 0 && place >= must && bytesChosen * shareWhole >= share * total) continue
    chosen.add(slot)
    bytesChosen += bytes
  }
  return chosen
}
