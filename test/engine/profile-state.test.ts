import { describe, expect, it } from 'vitest'
import { type ProfileName, parseProfileName } from '../../src/base/names.ts'
import { profileState } from '../../src/engine/profile-state.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import { parseCalendar } from '../../src/profiles/schedule.ts'

const day = 86_400_000
const began = new Date('2026-11-01T00:00:00Z')
const name: ProfileName = parseProfileName('nightly')
const profile = { name, checkWithinDays: null, drill: null, maxAgeDays: 3, schedule: null }
const daysOn = (days: number) => new Date(began.getTime() + days * day)

/** Of which only times count here. */
function historyOf(...snapshots: readonly number[]): RepositoryHistory {
  const entries = snapshots.map(days => ({ time: daysOn(days) }))
  return { time: began, snapshots: entries, checks: [] } as unknown as RepositoryHistory
}
const alarmsOf = (history: RepositoryHistory | null, days: number, maxAgeDays: number | null = 3) =>
  profileState({ ...profile, maxAgeDays }, history === null ? [] : [history], began, daysOn(days)).alarms

describe('the newest snapshot', () => {
  it('is an alarm when it is older than the sealed days, and not before', () => {
    expect(alarmsOf(historyOf(1, 4), 7)).toEqual([])
    expect(alarmsOf(historyOf(1, 4), 7.001)).toEqual([
      {
        code: 'BACKUP_OVERDUE',
        message: "no backup within 3 days: the newest snapshot of 'nightly' is of 2026-11-05T00:00:00.000Z",
        time: daysOn(7),
      },
    ])
  })

  it('is missed as long when there never was one', () => {
    for (const history of [null, historyOf()]) {
      expect(alarmsOf(history, 3)).toEqual([])
      expect(alarmsOf(history, 3.001)).toEqual([
        {
          code: 'BACKUP_OVERDUE',
          message: "no backup within 3 days: 'nightly' was never backed up",
          time: daysOn(3),
        },
      ])
    }
  })

  it('is not one of a time that is yet to come, which a clock that was ahead has left', () => {
    expect(alarmsOf(historyOf(1, 400), 5)).toMatchObject([
      { code: 'BACKUP_OVERDUE', message: expect.stringContaining('is of 2026-11-02') },
    ])
    expect(alarmsOf(historyOf(1, 400), 401)).toEqual([])
  })

  it('may be of any age where nothing is sealed', () => {
    expect(alarmsOf(historyOf(1), 1000, null)).toEqual([])
    expect(alarmsOf(null, 1000, null)).toEqual([])
  })
})

it('the next run is that of the sealed schedule', () => {
  const schedule = {
    calendar: parseCalendar('21:00'),
    timeZone: 'Europe/Berlin',
    jitterMinutes: 0,
    catchUp: true,
  }
  expect(profileState(profile, [], began, daysOn(1)).nextRun).toBeNull()
  expect(profileState({ ...profile, schedule }, [], began, daysOn(1)).nextRun).toEqual(
    new Date('2026-11-02T20:00:00Z'),
  )
})
