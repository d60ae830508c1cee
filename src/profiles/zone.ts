import { printable } from '../base/errors.ts'
import { ProfileError } from './errors.ts'

/*
 * Local time of the IANA time zones, as Intl knows them. A local time is written as the milliseconds that the same
 * reading of the clock would have in UTC. Assumes at most one change of the clock within three days.
 */

const hour = 3_600_000
const day = 24 * hour
/** No zone is further from UTC. */
const offsetMax = 15 * hour
const zonesRememberedMax = 1000

/** Names found good; making a formatter takes a tenth of a millisecond, and a fleet has thousands of schedules. */
const zonesKnown = new Set<string>()

/** The name, when there is such a time zone; throws `TIME_ZONE_UNKNOWN`. */
export function requireTimeZone(untrustedName: string): string {
  if (zonesKnown.has(untrustedName)) return untrustedName
  new Zone(untrustedName)
  if (zonesKnown.size < zonesRememberedMax) zonesKnown.add(untrustedName)
  return untrustedName
}

export class Zone {
  readonly #format: Intl.DateTimeFormat

  constructor(untrustedName: string) {
    this.#format = formatOf(untrustedName)
  }

  /** Local minus UTC at an instant. */
  offsetAt(instant: number): number {
    const fields: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {}
    for (const { type, value } of this.#format.formatToParts(instant)) fields[type] = Number(value)
    const { year = 0, month = 1, day: date = 1, hour: hours = 0, minute = 0, second = 0 } = fields
    return Date.UTC(year, month - 1, date, hours, minute, second) - Math.floor(instant / 1000) * 1000
  }

  /** The one offset that holds through the whole local day, or `null` when the clock changes near it. */
  offsetOfDay(localMidnight: number): number | null {
    const before = this.offsetAt(localMidnight - offsetMax)
    return before === this.offsetAt(localMidnight + day + offsetMax) ? before : null
  }

  /**
   * The instants at which the clock shows `local`: one, two where the clock is set back, none where it is set forward.
   * `resumes` is then the instant at which it goes on.
   */
  instants(local: number): { readonly shown: readonly number[]; readonly resumes: number | null } {
    const offsets = [this.offsetAt(local - day), this.offsetAt(local + day)]
    const shown = [...new Set(offsets.map(offset => local - offset))]
      .filter(instant => this.offsetAt(instant) === local - instant)
      .sort((a, b) => a - b)
    if (shown.length > 0) return { shown, resumes: null }
    return { shown, resumes: this.#change(local - Math.max(...offsets), local - Math.min(...offsets)) }
  }

  /** The first instant of the offset that holds at `high`. */
  #change(low: number, high: number): number {
    const after = this.offsetAt(high)
    let before = low
    let changed = high
    while (changed - before > 1000) {
      const middle = Math.floor((before + changed) / 2000) * 1000
      if (this.offsetAt(middle) === after) changed = middle
      else before = middle
    }
    return changed
  }
}

function formatOf(untrustedName: string): Intl.DateTimeFormat {
  // The grammar keeps out offsets such as +01:00, which Intl takes for zones.
  if (/^[A-Za-z][A-Za-z0-9_+/-]{0,63}$/.test(untrustedName))
    try {
      return new Intl.DateTimeFormat('en-US', {
        timeZone: untrustedName,
        calendar: 'gregory',
        numberingSystem: 'latn',
        hourCycle: 'h23',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      })
    } catch (cause) {
      throw unknownZone(untrustedName, cause)
    }
  throw unknownZone(untrustedName)
}

function unknownZone(untrustedName: string, cause?: unknown): ProfileError {
  return new ProfileError('TIME_ZONE_UNKNOWN', `no time zone '${printable(untrustedName).slice(0, 80)}'`, {
    cause,
  })
}
