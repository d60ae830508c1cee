import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseCalendar } from '../../src/profiles/calendar.ts'
import { ProfileError } from '../../src/profiles/errors.ts'
import { next, previous } from '../../src/profiles/schedule.ts'
import { errorOf, vectors } from './make.ts'

interface Vector {
  readonly text: string
  readonly normalized: string | null
  readonly next?: Readonly<Record<string, readonly string[]>>
}
const rows = vectors<Vector>('calendar/systemd-252.json')

describe('as systemd-analyze calendar says', () => {
  test.each(rows.filter(({ normalized }) => normalized !== null))(
    '$text',
    ({ text, normalized, next: runs }) => {
      const calendar = parseCalendar(text)
      expect(calendar.text).toBe(normalized)
      expect(parseCalendar(calendar.text)).toEqual(calendar)
      for (const [start, expected] of Object.entries(runs ?? {})) {
        let at: Date | null = new Date(start)
        for (const time of expected) {
          at = at === null ? null : next(calendar, 'UTC', at)
          expect(at?.toISOString()).toBe(time.replace('Z', '.000Z'))
        }
      }
    },
  )

  test.each(rows.filter(({ normalized }) => normalized === null))('$text is refused', ({ text }) => {
    expect(errorOf(() => parseCalendar(text)).code).toBe('CALENDAR_INVALID')
  })
})

describe('what systemd takes and a backup has no use for', () => {
  test.each([
    ['minutely', '60 seconds'],
    ['*:0/4', '240 seconds'],
    ['*:0,59', '60 seconds'],
    ['00:00:00/30', '30 seconds'],
    ['*-02-30', 'no such day'],
    ['Mon 2026-01-06', 'no such day'],
    ['2029-02-29', 'no such day'],
    ['daily UTC', 'no weekday'],
    ['Mon *-*-* 12:00 UTC', 'no calendar'],
    ['12:00:30.5', 'second'],
    ['26-01-01', 'out of range'],
    ['@1700000000', 'no calendar'],
    ['', 'no calendar'],
    ['   ', 'no calendar'],
    ['0/0:00', 'step of 0'],
    ['Fri..Mon', 'forward'],
    [`${'1,'.repeat(150)}1:00`, '304 characters'],
  ])('%s', (text, reason) => {
    const error = errorOf(() => parseCalendar(text))
    expect(error.code).toBe('CALENDAR_INVALID')
    expect(error.message).toContain(reason)
  })

  test('the shortest distance is five minutes, also across midnight', () => {
    expect(parseCalendar('*:0/5').times).toHaveLength(288)
    expect(errorOf(() => parseCalendar('0,23:0,58')).message).toContain('120 seconds')
  })
})

test('any text gives a calendar or a ProfileError', () => {
  const piece = fc.constantFrom(
    '*',
    '..',
    '/',
    ',',
    '-',
    '~',
    ':',
    ' ',
    'Mon',
    'fri',
    '0',
    '1',
    '31',
    '59',
    '2026',
    '@',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece, { maxLength: 14 }).map(all => all.join('')),
      ),
      text => {
        try {
          parseCalendar(text)
        } catch (error) {
          if (!(error instanceof ProfileError)) throw error
        }
      },
    ),
    { numRuns: 3000, seed: 20261124 },
  )
})

test('next and previous agree', () => {
  const calendars = ['daily', 'Mon..Fri 21:00', '*-*~01 02:30', '0/6:10', '*:0/30', '*-*-1,15 02:30'].map(
    parseCalendar,
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...calendars),
      fc.constantFrom('UTC', 'Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe', 'America/Sao_Paulo'),
      fc.date({ min: new Date('2015-01-01'), max: new Date('2035-01-01'), noInvalidDate: true }),
      (calendar, zone, at) => {
        const following = next(calendar, zone, at)
        if (following === null) throw new Error('these calendars never end')
        expect(following.getTime()).toBeGreaterThan(at.getTime())
        expect(previous(calendar, zone, following)).toEqual(following)
        const before = previous(calendar, zone, new Date(following.getTime() - 1))
        expect(before?.getTime()).toBeLessThanOrEqual(at.getTime())
      },
    ),
    { numRuns: 300, seed: 20261124 },
  )
})
