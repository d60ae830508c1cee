import { printable } from '../base/errors.ts'
import { type Calendar, parseCalendar } from './calendar.ts'
import { ProfileError } from './errors.ts'

/*
 * crontab(5) lines of five fields, for taking over what exists. Only what means the same as a calendar expression is
 * taken over: cron runs when day of month OR weekday matches, a calendar when both do.
 */

const monthNames = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

const shorthands: Readonly<Record<string, string>> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
}

/** Throws `CALENDAR_INVALID`. */
export function fromCron(untrustedLine: string): Calendar {
  const line = untrustedLine.slice(0, 200).trim().toLowerCase()
  const fields = (Object.hasOwn(shorthands, line) ? (shorthands[line] ?? '') : line).split(/\s+/)
  const [minute, hour, day, month, weekday, ...more] = fields
  if (!minute || !hour || !day || !month || !weekday || more.length > 0)
    throw invalid(untrustedLine, `has ${fields.length} fields; expected 5`)
  if (!day.startsWith('*') && !weekday.startsWith('*'))
    throw invalid(
      untrustedLine,
      'runs on a day of the month or on a weekday, which no calendar expression says',
    )
  try {
    const weekdays = weekdayField(weekday)
    const date = `*-${field(month, 1, 12, monthNames, 1)}-${field(day, 1, 31, [], 0)}`
    return parseCalendar(`${weekdays}${date} ${field(hour, 0, 23, [], 0)}:${field(minute, 0, 59, [], 0)}:00`)
  } catch (cause) {
    if (cause instanceof RangeError) throw invalid(untrustedLine, cause.message)
    throw cause
  }
}

/** One field as a component of a calendar expression: `*`, or the values. */
function field(text: string, min: number, max: number, names: readonly string[], nameBase: number): string {
  if (text === '*') return '*'
  return [...values(text, min, max, names, nameBase)].join(',')
}

function weekdayField(text: string): string {
  if (text === '*') return ''
  const days = new Set([...values(text, 0, 7, weekdayNames, 0)].map(day => day % 7))
  return `${[...days].map(day => weekdayNames[day]).join(',')} `
}

function values(
  text: string,
  min: number,
  max: number,
  names: readonly string[],
  nameBase: number,
): ReadonlySet<number> {
  const number = (word: string): number => {
    const value = names.includes(word)
      ? names.indexOf(word) + nameBase
      : /^\d{1,2}$/.test(word)
        ? Number(word)
        : -1
    if (value < min || value > max)
      throw new RangeError(`has a value out of range; expected ${min} to ${max}`)
    return value
  }
  const result = new Set<number>()
  for (const item of text.split(',')) {
    const match = /^(?:\*|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:\/(\d{1,2}))?$/.exec(item)
    if (match === null) throw new RangeError('has a field that is no value, range or step')
    const [, first, last, stepText] = match
    const step = stepText === undefined ? 1 : Number(stepText)
    const from = first === undefined ? min : number(first)
    const to =
      last === undefined ? (first === undefined ? max : stepText === undefined ? from : max) : number(last)
    if (step === 0 || to < from) throw new RangeError('has a range or step that does not run forward')
    for (let value = from; value <= to; value += step) result.add(value)
  }
  return result
}

function invalid(source: string, reason: string): ProfileError {
  return new ProfileError('CALENDAR_INVALID', `'${printable(source).slice(0, 80)}' ${reason}`)
}
