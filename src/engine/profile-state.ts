import { dayMilliseconds } from '../base/quantities.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Profile } from '../profiles/profile.ts'
import type { Alarm, ProfileState } from '../qrexec/calls/orders.ts'
import { oldestOf, slotTimes } from '../repository/read-cycle.ts'
import { standingOf } from './sealed-drills.ts'
import { nextSealedRun } from './sealed-schedules.ts'

/**
 * What the ledger proves of a profile's backups, and whether that is what the sealed profile wants. `began`: when the
 * ledger was; a profile that was never backed up has no newest snapshot since then. A snapshot of a time that is yet to come
 * is that of a clock that was ahead, and nobody knows how old it is.
 */
export function profileState(
  profile: Pick<Profile, 'name' | 'checkWithinDays' | 'drill' | 'maxAgeDays' | 'schedule'>,
  histories: readonly RepositoryHistory[],
  began: Date,
  now: Date,
): ProfileState {
  const stored = histories.filter(({ snapshots }) => snapshots.length > 0)
  const unread = stored.map(({ checks, time }) => oldestOf(slotTimes(checks, time, now)))
  const unreadSince = unread.length === 0 ? null : new Date(Math.min(...unread.map(Number)))
  const past = stored.flatMap(({ snapshots }) => snapshots).filter(({ time }) => time <= now)
  const newest = past.sort((one, other) => one.entry - other.entry).at(-1)
  return {
    name: profile.name,
    unreadSince,
    nextRun: nextSealedRun(profile, now),
    alarms: [
      ...overdueBackup(profile, newest?.time ?? null, began, now),
      ...(unreadSince === null ? [] : overdueCheck(profile, unreadSince, now)),
      ...overdueDrill(profile, histories, now),
    ],
  }
}

function overdueBackup(
  { name, maxAgeDays }: Pick<Profile, 'name' | 'maxAgeDays'>,
  newest: Date | null,
  began: Date,
  now: Date,
): readonly Alarm[] {
  const due = dueAfter(newest ?? began, maxAgeDays)
  if (due === null || now <= due) return []
  const found =
    newest === null
      ? `'${name}' was never backed up`
      : `the newest snapshot of '${name}' is of ${newest.toISOString()}`
  return [{ code: 'BACKUP_OVERDUE', message: `no backup within ${maxAgeDays} days: ${found}`, time: due }]
}

function overdueCheck(
  { name, checkWithinDays }: Pick<Profile, 'name' | 'checkWithinDays'>,
  unreadSince: Date,
  now: Date,
): readonly Alarm[] {
  const due = dueAfter(unreadSince, checkWithinDays)
  if (due === null || now <= due) return []
  const message = `no full cycle within ${checkWithinDays} days: some data of '${name}' was read last, or stored, at ${unreadSince.toISOString()}`
  return [{ code: 'CHECK_OVERDUE', message, time: due }]
}

function overdueDrill(
  profile: Pick<Profile, 'name' | 'drill'>,
  histories: readonly RepositoryHistory[],
  now: Date,
): readonly Alarm[] {
  const time = standingOf(profile, histories, now, '')?.overdue ?? null
  if (time === null) return []
  const message = `no restore drill of '${profile.name}' has passed within ${profile.drill?.withinDays} days`
  return [{ code: 'DRILL_OVERDUE', message, time }]
}

function dueAfter(since: Date, days: number | null): Date | null {
  return days === null ? null : new Date(since.getTime() + days * dayMilliseconds)
}
