import { fields, is } from '../base/json.ts'
import { ProfileError } from './errors.ts'
import { requireTimeZone, Zone } from './zone.ts'

/* Between which hours something may happen, by the clocks of a time zone. */

const minutesPerDay = 24 * 60
const minuteMilliseconds = 60_000

export interface Hours {
  /** Minutes since midnight; `to` is not within. `from` after `to` goes over midnight. */
  readonly from: number
  readonly to: number
  readonly timeZone: string
}

/** `HH:MM`; also 24:00, for an end. */
function parseMinutes(untrustedText: string): number {
  const [, hours, minutes] = /^([01]\d|2[0-4]):([0-5]\d)$/.exec(untrustedText) ?? []
  const total = Number(hours) * 60 + Number(minutes)
  if (total <= minutesPerDay) return total
  throw new ProfileError('CONFIGURATION_FILE_INVALID', 'expected a time of the day like 22:00')
}

const shape = fields('hours', {
  from: is.name(parseMinutes),
  to: is.name(parseMinutes),
  time_zone: is.optional(is.name(requireTimeZone)),
})

export function parseHours(untrustedValue: unknown): Hours {
  const { from, to, time_zone: timeZone = 'UTC' } = shape(untrustedValue)
  if (from === to)
    throw new ProfileError(
      'CONFIGURATION_FILE_INVALID',
      'hours begin and end at the same minute: never, or always?',
    )
  return { from, to, timeZone }
}

export function isWithinHours({ from, to, timeZone }: Hours, time: Date): boolean {
  const local = time.getTime() + new Zone(timeZone).offsetAt(time.getTime())
  const minute = Math.floor(local / minuteMilliseconds) % minutesPerDay
  return from < to ? from <= minute && minute < to : from <= minute || minute < to
}

export function describeHours({ from, to, timeZone }: Hours): string {
  return `${clock(from)} to ${clock(to)} (${timeZone})`
}

function clock(minutes: number): string {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
}
