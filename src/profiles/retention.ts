import type { SnapshotId } from '../base/names.ts'
import { believedTimes } from './believed-times.ts'

/*
 * Which snapshots a prune forgets. Pure, and by the ledger alone: the order is that of its entries, the times are theirs.
 * A snapshot's own time is its writer's word and counts for nothing.
 *
 * The rules are those of `restic forget`, in UTC. Each goes from the newest snapshot back and keeps the newest of every
 * period that has one, until it has kept as many as it may. None counts from the present: a clock that is set ahead, and
 * the mere passing of time, forget nothing. Only a further backup does.
 */

/** Which snapshots a prune keeps: the union of all rules. 0: the rule keeps none. At least one rule is above 0. */
export interface Retention {
  readonly keepLast: number
  readonly keepHourly: number
  readonly keepDaily: number
  readonly keepWeekly: number
  readonly keepMonthly: number
  readonly keepYearly: number
  readonly keepWithinDays: number
}

/**
 * `clock`: its time is not believed, and its neighbour is kept. `no-retention` and `older-epoch`: nothing is forgotten
 * there at all.
 */
export const keepReasons = [
  'newest',
  'last',
  'hourly',
  'daily',
  'weekly',
  'monthly',
  'yearly',
  'within',
  'held',
  'clock',
  'no-retention',
  'older-epoch',
] as const
export type KeepReason = (typeof keepReasons)[number]

/** A snapshot as the ledger has it. */
export interface RecordedSnapshot {
  readonly snapshotId: SnapshotId
  /** Of its entry. */
  readonly time: Date
}

export interface Judged<S> {
  readonly snapshot: S
  /** Why it is kept; none: it is forgotten. */
  readonly reasons: readonly KeepReason[]
}

const hour = 3_600_000
const day = 24 * hour

/**
 * `snapshots` in the order of the ledger, oldest first, and so is the answer. `held` tells until when one is held. `now`
 * can only keep more: see `referenceOf`. The newest is never forgotten, whatever the rules say.
 */
export function judgeRetention<S extends RecordedSnapshot>(
  retention: Retention,
  snapshots: readonly S[],
  held: (id: SnapshotId) => Date | null,
  now: Date,
): readonly Judged<S>[] {
  const times = snapshots.map(({ time }) => time.getTime())
  const believed = believedTimes(times)
  const reference = referenceOf(times, believed, now)
  const rules = rulesOf(retention)
  const judged = snapshots.map(snapshot => ({ snapshot, reasons: [] as KeepReason[] }))
  for (const [at, { snapshot, reasons }] of [...judged.entries()].reverse()) {
    const time = times[at] ?? 0
    if (at === snapshots.length - 1) reasons.push('newest')
    if (at >= snapshots.length - retention.keepLast) reasons.push('last')
    if (believed[at]) {
      for (const rule of rules) if (rule.keeps(time)) reasons.push(rule.reason)
      if (isWithin(retention, time, reference)) reasons.push('within')
    }
    const until = held(snapshot.snapshotId)
    if (until !== null && until.getTime() > reference) reasons.push('held')
  }
  keepBeside(judged, believed)
  return judged
}

/**
 * The time from which `keep_within_days` and holds count: that of the newest snapshot, or the present if that is earlier.
 * A backup that was made while the clock was ahead does not age the others once the clock is right again.
 */
function referenceOf(times: readonly number[], believed: readonly boolean[], now: Date): number {
  return Math.min(times.findLast((_, at) => believed[at]) ?? 0, now.getTime())
}

function isWithin({ keepWithinDays }: Retention, time: number, reference: number): boolean {
  return keepWithinDays > 0 && time > reference - keepWithinDays * day
}

/** A snapshot whose time is not believed takes nobody's place: it stays as long as its neighbour does. */
function keepBeside(
  judged: readonly { readonly reasons: KeepReason[] }[],
  believed: readonly boolean[],
): void {
  let neighbour = judged[believed.indexOf(true)]
  for (const [at, one] of judged.entries())
    if (believed[at]) neighbour = one
    else if (one.reasons.length === 0 && (neighbour?.reasons.length ?? 0) > 0) one.reasons.push('clock')
}

/** Keeps the newest of each period, newest first, until it has kept `count`. */
class PeriodRule {
  readonly reason: KeepReason
  readonly #period: (time: number) => number
  #left: number
  #last: number | null = null

  constructor(reason: KeepReason, count: number, period: (time: number) => number) {
    this.reason = reason
    this.#left = count
    this.#period = period
  }

  keeps(time: number): boolean {
    const period = this.#period(time)
    if (this.#left === 0 || period === this.#last) return false
    this.#last = period
    this.#left -= 1
    return true
  }
}

function rulesOf(retention: Retention): readonly PeriodRule[] {
  return [
    new PeriodRule('hourly', retention.keepHourly, time => Math.floor(time / hour)),
    new PeriodRule('daily', retention.keepDaily, time => Math.floor(time / day)),
    new PeriodRule('weekly', retention.keepWeekly, weekOf),
    new PeriodRule('monthly', retention.keepMonthly, monthOf),
    new PeriodRule('yearly', retention.keepYearly, time => new Date(time).getUTCFullYear()),
  ]
}

/** Weeks begin on Monday, as those of ISO 8601; 1970 began on a Thursday. */
function weekOf(time: number): number {
  return Math.floor((Math.floor(time / day) + 3) / 7)
}

function monthOf(time: number): number {
  const date = new Date(time)
  return 12 * date.getUTCFullYear() + date.getUTCMonth()
}
