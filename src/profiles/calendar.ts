import { printable } from '../base/errors.ts'
import { dayMilliseconds } from '../base/quantities.ts'
import { type CalendarComponent, expand, formatComponent, parseComponent } from './calendar-component.ts'
import { formatWeekdays, parseWeekdays } from './calendar-weekdays.ts'
import { ProfileError } from './errors.ts'

/*
 * Calendar expressions of systemd.time(7), version 252, without: fractions of seconds, two-digit years, `@` times and
 * time zones inside the expression (a schedule has `time_zone`). An expression that can never come due is refused, and
 * so is one that comes due more often than every `secondsBetweenMin`.
 */

const textLengthMax = 200
const secondsBetweenMin = 5 * 60
const yearMin = 1970
const yearMax = 2199
const secondsPerDay = 86_400

export interface Calendar {
  /** The normalized form, as `systemd-analyze calendar` prints it. */
  readonly text: string
  /** 0 is Monday; `null`: all. */
  readonly weekdays: ReadonlySet<number> | null
  readonly years: ReadonlySet<number> | null
  readonly months: ReadonlySet<number> | null
  readonly days: CalendarComponent | null
  /** Days are counted back from the last of the month, which is 1. */
  readonly daysFromEnd: boolean
  /** Seconds since midnight, ascending. */
  readonly times: readonly number[]
  /** Comes due in every hour: such a calendar follows the hours that pass, not the clock on the wall. */
  readonly everyHour: boolean
}

const shorthands: Readonly<Record<string, string>> = {
  minutely: '*-*-* *:*:00',
  hourly: '*-*-* *:00:00',
  daily: '*-*-* 00:00:00',
  weekly: 'Mon *-*-* 00:00:00',
  monthly: '*-*-01 00:00:00',
  quarterly: '*-01,04,07,10-01 00:00:00',
  semiannually: '*-01,07-01 00:00:00',
  'semi-annually': '*-01,07-01 00:00:00',
  yearly: '*-01-01 00:00:00',
  annually: '*-01-01 00:00:00',
}

/** Throws `CALENDAR_INVALID`. */
export function parseCalendar(untrustedText: string): Calendar {
  if (untrustedText.length > textLengthMax)
    throw invalid(untrustedText, `has ${untrustedText.length} characters; at most ${textLengthMax} are read`)
  const trimmed = untrustedText.trim()
  const lower = trimmed.toLowerCase()
  const parts = (Object.hasOwn(shorthands, lower) ? (shorthands[lower] ?? '') : trimmed).split(/\s+/)
  const weekdayPart = /^[A-Za-z]/.test(parts[0] ?? '') ? parts.shift() : undefined
  const datePart = parts[0] !== undefined && !parts[0].includes(':') ? parts.shift() : undefined
  const timePart = parts.shift()
  if (parts.length > 0 || (weekdayPart ?? datePart ?? timePart ?? '') === '') throw malformed(untrustedText)
  try {
    return build(weekdayPart, datePart ?? '*-*-*', timePart ?? '00:00:00', untrustedText)
  } catch (cause) {
    if (cause instanceof RangeError) throw invalid(untrustedText, cause.message)
    throw cause
  }
}

function build(weekday: string | undefined, date: string, time: string, source: string): Calendar {
  const named = weekday === undefined ? null : parseWeekdays(weekday)
  const weekdays = named?.size === 7 ? null : named
  const dateMatch = /^(?:([^-~]+)-)?([^-~]+)([-~])([^-~]+)$/.exec(date)
  const timeMatch = /^([^:]+):([^:]+)(?::([^:]+))?$/.exec(time)
  if (dateMatch === null || timeMatch === null) throw malformed(source)
  const [, year = '*', month = '*', separator = '-', day = '*'] = dateMatch
  const [, hour = '*', minute = '*', second = '00'] = timeMatch
  const daysFromEnd = separator === '~'
  if (daysFromEnd && day === '*') throw malformed(source)
  const years = parseComponent(year, 'year', yearMin, yearMax)
  const months = parseComponent(month, 'month', 1, 12)
  const days = parseComponent(day, 'day', 1, 31)
  const hours = parseComponent(hour, 'hour', 0, 23)
  const minutes = parseComponent(minute, 'minute', 0, 59)
  const seconds = parseComponent(second, 'second', 0, 59)
  const calendar: Calendar = {
    text: `${weekdays === null ? '' : `${formatWeekdays(weekdays)} `}${formatComponent(years, 4)}-${formatComponent(months, 2)}${separator}${formatComponent(days, 2)} ${[hours, minutes, seconds].map(one => formatComponent(one, 2)).join(':')}`,
    weekdays,
    years: years === null ? null : expand(years, yearMin, yearMax),
    months: months === null ? null : expand(months, 1, 12),
    days,
    daysFromEnd,
    times: timesOfDay([hours, minutes, seconds]),
    everyHour: hours === null || expand(hours, 0, 23).size === 24,
  }
  requireSeldom(calendar, source)
  requirePossible(calendar, source)
  return calendar
}

function timesOfDay([hours, minutes, seconds]: readonly (CalendarComponent | null)[]): readonly number[] {
  const times: number[] = []
  // More than one second a minute is too often in any case; two suffice to say so.
  const secondsOfMinute = [...expand(seconds ?? null, 0, 59)].slice(0, 2)
  for (const hour of expand(hours ?? null, 0, 23))
    for (const minute of expand(minutes ?? null, 0, 59))
      for (const second of secondsOfMinute) times.push(hour * 3600 + minute * 60 + second)
  return times.sort((a, b) => a - b)
}

function requireSeldom({ times }: Calendar, source: string): void {
  const [first = 0] = times
  for (const [index, time] of times.entries()) {
    const gap = (times[index + 1] ?? first + secondsPerDay) - time
    if (gap < secondsBetweenMin)
      throw invalid(
        source,
        `comes due twice within ${gap} seconds; at least ${secondsBetweenMin} must lie between`,
      )
  }
}

/** Weekdays and leap years repeat within 28 years, so a day that is not found among them never comes. */
function requirePossible(calendar: Calendar, source: string): void {
  const firstYear = calendar.years === null ? 2000 : Math.min(...calendar.years)
  const lastYear = calendar.years === null ? 2027 : Math.max(...calendar.years)
  const last = Date.UTC(lastYear, 11, 31) / dayMilliseconds
  for (let day = Date.UTC(firstYear, 0, 1) / dayMilliseconds; day <= last; day += 1)
    if (isDueOn(calendar, day)) return
  throw invalid(source, 'never comes due: there is no such day')
}

/** Whether the calendar has this day, counted from 1970-01-01. */
export function isDueOn(calendar: Calendar, epochDay: number): boolean {
  // 1970-01-01 was a Thursday.
  if (calendar.weekdays !== null && !calendar.weekdays.has((((epochDay + 3) % 7) + 7) % 7)) return false
  const date = new Date(epochDay * dayMilliseconds)
  const year = date.getUTCFullYear()
  const month = date.getUTCMonth()
  if (calendar.years !== null && !calendar.years.has(year)) return false
  if (calendar.months !== null && !calendar.months.has(month + 1)) return false
  if (calendar.days === null) return true
  const daysInMonth = new Date(Date.UTC(year, month + 1, 0)).getUTCDate()
  return daysOf(calendar.days, calendar.daysFromEnd, daysInMonth).has(date.getUTCDate())
}

function daysOf(days: CalendarComponent, fromEnd: boolean, daysInMonth: number): ReadonlySet<number> {
  if (!fromEnd) return expand(days, 1, daysInMonth)
  const forward = days.map(({ start, stop, step }) => ({
    start: daysInMonth + 1 - (stop ?? start),
    stop: stop === null && step !== null ? null : daysInMonth + 1 - start,
    step,
  }))
  return expand(forward, 1, daysInMonth)
}

function malformed(source: string): ProfileError {
  return invalid(
    source,
    'is no calendar expression; expected [WEEKDAYS] [YEAR-MONTH-DAY] [HOUR:MINUTE[:SECOND]]',
  )
}

function invalid(source: string, reason: string): ProfileError {
  return new ProfileError('CALENDAR_INVALID', `'${printable(source).slice(0, 80)}' ${reason}`)
}
