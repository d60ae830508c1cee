import { createHash } from 'node:crypto'
import type { DrillLevel } from '../base/drill-levels.ts'
import type { DrillRules } from '../base/drill-rules.ts'
import type { SnapshotId } from '../base/names.ts'
import { dayMilliseconds } from '../base/quantities.ts'

/*
 * When a drill is due, and of which snapshots. Pure.
 *
 * A drill takes the newest snapshot, which is the one that is needed tomorrow, and one older by lot, so that nobody who keeps
 * the objects knows which may be lost unnoticed. The lot is among the half that has waited the longest; who has waited for as
 * many drills as there are older snapshots goes first without a lot. So of n older snapshots each is drilled within 2n drills,
 * whichever come and go meanwhile: as soon as one has waited n drills, every drill takes it or one of those before it, of
 * which there are fewer than n and never more. What a snapshot has waited is counted by places in the ledger and not by
 * clocks, and from its last attempt: one that cannot be restored does not keep the others from their turn.
 */

/** The last that a `Date` can hold. */
const timeMax = 8_640_000_000_000_000
/** A drill is due when three quarters of the days are gone, so that it is over before there is an alarm. */
const dueShare = 0.75

export interface PastDrill {
  /** Its place in the ledger. */
  readonly entry: number
  readonly snapshot: SnapshotId
  /** When it ended. */
  readonly time: Date
  readonly passed: boolean
  /** What it had to prove. */
  readonly levels: readonly DrillLevel[]
}

export interface DrillableSnapshot {
  /** Its place in the ledger. */
  readonly entry: number
  readonly snapshot: SnapshotId
}

export interface DrillStanding {
  /** Have one held. */
  readonly due: boolean
  /** No drill has passed within the days: since when this is an alarm. */
  readonly overdue: Date | null
  /** What the next drill takes, in this order: the newest unless it has passed one, and an older one if there is any. */
  readonly next: readonly SnapshotId[]
}

/** Until when another drill has to have passed after one that ended at `passed`; `null`: the sealed rules do not say. */
export function nextDrillDue(passed: Date, withinDays: number | null): Date | null {
  if (withinDays === null) return null
  return new Date(Math.min(timeMax, passed.getTime() + withinDays * dayMilliseconds))
}

/**
 * `snapshots`: those in force, `drills`: all that came to a verdict, both as the ledger has them and in its order. `began`: when
 * the repository was. `seed`: what nobody knew before, e.g. the root of the ledger's head; the same seed gives the same lot. Only
 * a drill that proved all the levels of `rules` counts as passed, and none of a time that is yet to come: the clock was wrong then, or is now.
 */
export function drillStanding(
  rules: Pick<DrillRules, 'levels' | 'withinDays'>,
  snapshots: readonly DrillableSnapshot[],
  drills: readonly PastDrill[],
  began: Date,
  now: Date,
  seed: string,
): DrillStanding {
  const counting = drills.filter(
    ({ passed, time, levels }) =>
      passed && time <= now && rules.levels.every(level => levels.includes(level)),
  )
  const since = new Date(
    counting.reduce((latest, { time }) => Math.max(latest, time.getTime()), began.getTime()),
  )
  const limit = nextDrillDue(since, rules.withinDays)
  const hasSome = snapshots.length > 0
  return {
    due: hasSome && limit !== null && now.getTime() >= dueTime(since, limit),
    overdue: hasSome && limit !== null && now > limit ? limit : null,
    next: nextSnapshots(snapshots, drills, counting, seed),
  }
}

function dueTime(since: Date, limit: Date): number {
  return since.getTime() + dueShare * (limit.getTime() - since.getTime())
}

function nextSnapshots(
  snapshots: readonly DrillableSnapshot[],
  drills: readonly PastDrill[],
  counting: readonly PastDrill[],
  seed: string,
): readonly SnapshotId[] {
  const newest = snapshots.at(-1)
  if (newest === undefined) return []
  const older = chooseOlder(snapshots.slice(0, -1), drills, seed)
  const isProven = counting.some(({ snapshot }) => snapshot === newest.snapshot)
  // With nothing else to take, what was proven is proven again: the storage may have lost it since.
  return [...(isProven && older !== null ? [] : [newest.snapshot]), ...(older === null ? [] : [older])]
}

function chooseOlder(
  older: readonly DrillableSnapshot[],
  drills: readonly PastDrill[],
  seed: string,
): SnapshotId | null {
  const attempts = new Map(drills.map(({ snapshot, entry }) => [snapshot, entry]))
  const waiting = older
    .map(({ snapshot, entry }) => ({ snapshot, since: attempts.get(snapshot) ?? entry }))
    .sort((one, other) => one.since - other.since)
  const [first] = waiting
  if (first === undefined) return null
  const waited = drills.filter(({ entry }) => entry > first.since).length
  if (waited >= older.length) return first.snapshot
  const drawn = waiting
    .slice(0, Math.ceil(waiting.length / 2))
    .map(({ snapshot }) => ({ snapshot, lot: lotOf(snapshot, seed) }))
    .sort((one, other) => (one.lot < other.lot ? -1 : 1))
  return drawn[0]?.snapshot ?? null
}

function lotOf(snapshot: SnapshotId, seed: string): string {
  return createHash('sha256').update(`drill ${seed} ${snapshot}`).digest('hex')
}
