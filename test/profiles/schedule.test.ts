import { describe, expect, test } from 'vitest'
import { jitter } from '../../src/profiles/jitter.ts'
import { dueRun, next, nextRuns, parseCalendar, type Schedule } from '../../src/profiles/schedule.ts'
import { requireTimeZone } from '../../src/profiles/zone.ts'
import { errorOf } from './make.ts'

function runs(text: string, timeZone: string, after: string, count: number): readonly string[] {
  const schedule = scheduleOf(text, { timeZone })
  return nextRuns(schedule, 'nightly', new Date(after), count).map(date => date.toISOString().slice(0, 16))
}

function scheduleOf(text: string, more: Partial<Schedule> = {}): Schedule {
  return { calendar: parseCalendar(text), timeZone: 'UTC', jitterMinutes: 0, catchUp: true, ...more }
}

describe('when the clock changes', () => {
  test('a time that is skipped comes due once, when the clock goes on', () => {
    expect(runs('02:30', 'Europe/Berlin', '2026-03-28T00:00Z', 3)).toEqual([
      '2026-03-28T01:30',
      '2026-03-29T01:00',
      '2026-03-30T00:30',
    ])
  })

  test('several times that are skipped come due once together', () => {
    expect(runs('2:0/15', 'Europe/Berlin', '2026-03-29T00:00Z', 2)).toEqual([
      '2026-03-29T01:00',
      '2026-03-30T00:00',
    ])
  })

  test('a time that is shown twice comes due the first time', () => {
    expect(runs('02:30', 'Europe/Berlin', '2026-10-24T12:00Z', 2)).toEqual([
      '2026-10-25T00:30',
      '2026-10-26T01:30',
    ])
  })

  test('a calendar of every hour follows the hours that pass', () => {
    expect(runs('*:30', 'Europe/Berlin', '2026-03-29T00:00Z', 3)).toEqual([
      '2026-03-29T00:30',
      '2026-03-29T01:30',
      '2026-03-29T02:30',
    ])
    expect(runs('*:30', 'Europe/Berlin', '2026-10-25T00:00Z', 3)).toEqual([
      '2026-10-25T00:30',
      '2026-10-25T01:30',
      '2026-10-25T02:30',
    ])
  })

  test('midnight that does not exist, half-hour changes, and the south', () => {
    expect(runs('daily', 'America/Santiago', '2026-09-05T12:00Z', 2)).toEqual([
      '2026-09-06T04:00',
      '2026-09-07T03:00',
    ])
    expect(runs('02:15', 'Australia/Lord_Howe', '2026-10-02T16:00Z', 2)).toEqual([
      '2026-10-03T15:30',
      '2026-10-04T15:15',
    ])
    expect(runs('01:45', 'Australia/Lord_Howe', '2026-04-04T00:00Z', 2)).toEqual([
      '2026-04-04T14:45',
      '2026-04-05T15:15',
    ])
  })

  test('a day that a zone left out altogether', () => {
    expect(runs('12:00', 'Pacific/Apia', '2011-12-29T00:00Z', 3)).toEqual([
      '2011-12-29T22:00',
      '2011-12-30T10:00',
      '2011-12-30T22:00',
    ])
  })
})

test('a calendar that has ended has no next time', () => {
  expect(next(parseCalendar('2026-01-01 00:00'), 'UTC', new Date('2026-01-01T00:00Z'))).toBeNull()
  expect(runs('2026..2027-01-01', 'UTC', '2026-06-01T00:00Z', 5)).toEqual(['2027-01-01T00:00'])
})

describe('jitter', () => {
  test('is the same each time, below its bound, and spreads profiles', () => {
    const delays = ['a', 'b', 'c', 'd'].map(seed => jitter(seed, 30))
    expect(delays).toEqual(['a', 'b', 'c', 'd'].map(seed => jitter(seed, 30)))
    expect(new Set(delays).size).toBe(4)
    for (const delay of delays) expect(delay).toBeLessThan(30 * 60_000)
    expect(jitter('a', 0)).toBe(0)
  })

  test('moves all runs alike, and the one of today is not lost after its calendar time', () => {
    const schedule = scheduleOf('daily', { jitterMinutes: 60 })
    const delay = jitter('nightly', 60)
    expect(delay).toBeGreaterThan(60_000)
    const [first, second] = nextRuns(schedule, 'nightly', new Date('2026-11-24T00:00:30Z'), 2)
    expect(first?.getTime()).toBe(Date.parse('2026-11-24T00:00Z') + delay)
    expect(second?.getTime()).toBe(Date.parse('2026-11-25T00:00Z') + delay)
  })
})

describe('what is due', () => {
  const at = (text: string) => new Date(`2026-11-${text}Z`)
  const due = (lastRun: Date | null, now: Date, more: Partial<Schedule> = {}) =>
    dueRun({ schedule: scheduleOf('21:00', more), seed: 'nightly', lastRun, now })

  test('nothing before its time', () => {
    expect(due(at('23T21:00:02'), at('24T20:59:59'))).toBeNull()
  })

  test('its time, until it has run', () => {
    expect(due(at('23T21:00:02'), at('24T21:00:00'))).toEqual(at('24T21:00:00'))
    expect(due(at('23T21:00:02'), at('24T21:03:00'))).toEqual(at('24T21:00:00'))
    expect(due(at('24T21:00:00'), at('24T21:03:00'))).toBeNull()
    expect(due(at('24T21:03:01'), at('24T21:04:00'))).toBeNull()
  })

  test('however many were missed, one is made up', () => {
    expect(due(at('01T21:00:02'), at('24T12:00:00'))).toEqual(at('23T21:00:00'))
    expect(due(at('23T21:00:00'), at('24T12:00:01'))).toBeNull()
  })

  test('none is made up where that is not wanted, or nothing is known to be missed', () => {
    expect(due(at('01T21:00:02'), at('24T12:00:00'), { catchUp: false })).toBeNull()
    expect(due(at('01T21:00:02'), at('24T21:09:00'), { catchUp: false })).toEqual(at('24T21:00:00'))
    expect(due(null, at('24T12:00:00'))).toBeNull()
    expect(due(null, at('24T21:00:30'))).toEqual(at('24T21:00:00'))
  })

  test('a clock that was set back gives nothing twice', () => {
    expect(due(at('24T21:00:00'), at('23T21:01:00'))).toBeNull()
  })

  test('jitter delays it', () => {
    const delay = jitter('nightly', 60)
    const start = at('24T21:00:00').getTime() + delay
    expect(due(at('23T22:00:00'), new Date(start - 1000), { jitterMinutes: 60 })).toBeNull()
    expect(due(at('23T22:00:00'), new Date(start), { jitterMinutes: 60 })).toEqual(at('24T21:00:00'))
  })
})

test.each(['Europe/Bielefeld', '+01:00', '', 'UTC ', '../etc', 'a'.repeat(100)])(
  '%j is no time zone',
  name => {
    expect(errorOf(() => requireTimeZone(name)).code).toBe('TIME_ZONE_UNKNOWN')
  },
)
