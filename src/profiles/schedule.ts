import { createHash } from 'node:crypto'
import { type IdempotencyKey, type ProfileName, parseIdempotencyKey } from '../base/names.ts'
import { dayMilliseconds } from '../base/quantities.ts'
import { type Calendar, isDueOn } from './calendar.ts'
import { jitter } from './jitter.ts'
import { Zone } from './zone.ts'

export { type Calendar, parseCalendar } from './calendar.ts'

/*
 * When a calendar comes due in a time zone. A time of day that the clock skips comes due when the clock goes on; one
 * that it shows twice, the first time only. A calendar of every hour follows the hours that pass instead: nothing for
 * a skipped hour, both for a repeated one.
 */

const minute = 60_000
const daysAheadMax = 100 * 366
/** Without catch-up, a run that is later than this is missed. */
const missedAfter = 10 * minute
const runsMax = 1000

export interface Schedule {
  readonly calendar: Calendar
  /** IANA name. */
  readonly timeZone: string
  /** Runs come up to this much after the calendar; how much is fixed for each profile. */
  readonly jitterMinutes: number
  /** Whether a run missed while the machine was off is made up, once. */
  readonly catchUp: boolean
}

/** The first time after `after`; `null` when there is none within 100 years. */
export function next(calendar: Calendar, timeZone: string, after: Date): Date | null {
  return search(calendar, new Zone(timeZone), after.getTime(), 1)
}

/** The last time that is not after `until`. */
export function previous(calendar: Calendar, timeZone: string, until: Date): Date | null {
  return search(calendar, new Zone(timeZone), until.getTime(), -1)
}

function search(calendar: Calendar, zone: Zone, from: number, direction: 1 | -1): Date | null {
  const today = Math.floor((from + zone.offsetAt(from)) / dayMilliseconds)
  // A day early, so that no change of the clock around midnight is missed.
  for (let ahead = -1; ahead <= daysAheadMax; ahead += 1) {
    const epochDay = today + ahead * direction
    if (!isDueOn(calendar, epochDay)) continue
    const times = occurrences(calendar, zone, epochDay)
    const found = direction === 1 ? times.find(time => time > from) : times.findLast(time => time <= from)
    if (found !== undefined) return new Date(found)
  }
  return null
}

/** The instants of one local day, ascending. */
function occurrences(calendar: Calendar, zone: Zone, epochDay: number): readonly number[] {
  const midnight = epochDay * dayMilliseconds
  const offset = zone.offsetOfDay(midnight)
  if (offset !== null) return calendar.times.map(second => midnight + second * 1000 - offset)
  const instants = calendar.times.flatMap(second => {
    const { shown, resumes } = zone.instants(midnight + second * 1000)
    if (calendar.everyHour) return shown
    return resumes === null ? shown.slice(0, 1) : [resumes]
  })
  return [...new Set(instants)].sort((a, b) => a - b)
}

/** The next `count` runs, jitter included. */
export function nextRuns(schedule: Schedule, seed: string, after: Date, count: number): readonly Date[] {
  const delay = jitter(seed, schedule.jitterMinutes)
  const zone = new Zone(schedule.timeZone)
  const runs: Date[] = []
  let from = after.getTime() - delay
  while (runs.length < Math.min(count, runsMax)) {
    const due = search(schedule.calendar, zone, from, 1)
    if (due === null) break
    from = due.getTime()
    runs.push(new Date(from + delay))
  }
  return runs
}

export interface DueQuestion {
  readonly schedule: Schedule
  readonly seed: string
  /** When the last run started, or when the schedule was made if none has; `null`: nothing is known to be missed. */
  readonly lastRun: Date | null
  readonly now: Date
}

/**
 * The calendar time of the run to start now, or `null`. However many were missed, it is one: the latest. The same
 * due time is the answer until `lastRun` moves on, so it can name the order.
 */
export function dueRun({ schedule, seed, lastRun, now }: DueQuestion): Date | null {
  const delay = jitter(seed, schedule.jitterMinutes)
  const until = now.getTime() - delay
  const due = previous(schedule.calendar, schedule.timeZone, new Date(until))
  if (due === null) return null
  if (lastRun !== null && due.getTime() <= lastRun.getTime()) return null
  const madeUp = schedule.catchUp && lastRun !== null
  return madeUp || until - due.getTime() <= missedAfter ? due : null
}

/** The key of a scheduled order: a profile and a due time give one job, however often it is ordered. */
export function keyOfRun(profile: ProfileName, due: Date): IdempotencyKey {
  const digest = createHash('sha256').update(`${profile}\n${due.toISOString()}`).digest('hex')
  return parseIdempotencyKey(`run-${digest.slice(0, 40)}`)
}
