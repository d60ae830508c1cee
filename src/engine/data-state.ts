import type { RepositoryHistory } from '../ledger/history.ts'
import type { Profile } from '../profiles/profile.ts'
import type { ProfileState } from '../qrexec/calls/orders.ts'
import { dayMilliseconds, oldestOf, slotTimes } from '../repository/read-cycle.ts'

/** What the ledger proves of a profile's stored data, and whether that is what the sealed profile wants. */
export function dataState(
  { name, checkWithinDays }: Pick<Profile, 'name' | 'checkWithinDays'>,
  history: RepositoryHistory | null,
  now: Date,
): Omit<ProfileState, 'name'> {
  if (history === null || history.snapshots.length === 0) return { unreadSince: null, alarms: [] }
  const unreadSince = oldestOf(slotTimes(history.checks, history.time, now))
  if (checkWithinDays === null) return { unreadSince, alarms: [] }
  const due = new Date(unreadSince.getTime() + checkWithinDays * dayMilliseconds)
  if (now <= due) return { unreadSince, alarms: [] }
  const message = `no full cycle within ${checkWithinDays} days: some data of '${name}' was read last, or stored, at ${unreadSince.toISOString()}`
  return { unreadSince, alarms: [{ code: 'CHECK_OVERDUE', message, time: due }] }
}
