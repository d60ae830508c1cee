import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { budgetDefault } from '../../src/profiles/budget.ts'
import { parseProfile, profileBytesMax } from '../../src/profiles/profile.ts'
import type { Selector } from '../../src/profiles/selector.ts'
import { errorOf, nightly, profileOf, profileText, vectors } from './make.ts'

interface Accepted {
  readonly name: string
  readonly text: string
  readonly expect: Readonly<Record<string, unknown>>
}
interface Refused {
  readonly name: string
  readonly text: string
  readonly expect: string
  readonly line: number
  readonly column: number
}
const accepted = vectors<Accepted>('profile/accepted.json')
const refused = vectors<Refused>('profile/refused.json')

const pairs = (selectors: readonly Selector[] | null) =>
  selectors?.map(({ kind, value }) => [kind, value]) ?? null

describe('what stock qubesd means something by is accepted', () => {
  test.each(accepted)('$name', ({ text, expect: expected }) => {
    const profile = profileOf(text)
    expect({ ...profile, include: pairs(profile.include), exclude: pairs(profile.exclude) }).toMatchObject(
      expected,
    )
  })

  test('without our keys nothing is limited, scheduled or removed', () => {
    expect(profileOf(profileText())).toEqual({
      name: 'nightly',
      destinationVm: 'sys-store',
      destinationVmAt: { line: 2, column: 17 },
      destinationPath: '/backup',
      include: [{ kind: 'name', value: 'work', text: 'work', at: { line: 1, column: 12 } }],
      exclude: [],
      compression: { enabled: true, filter: 'gzip' },
      passphraseVm: 'vault',
      passphraseVmAt: { line: 4, column: 16 },
      retention: null,
      holds: { daysMax: 366, mayEnd: false },
      limits: null,
      schedule: null,
      budget: budgetDefault,
      maxAgeDays: null,
      checkWithinDays: null,
      drill: null,
      volumes: null,
      warnings: [],
    })
  })

  test('a filter that not every machine has is accepted with a warning', () => {
    expect(profileOf(profileText({ compression: 'zstd' })).warnings).toEqual([
      "compression: 'zstd' must be installed where an archive is restored",
    ])
    expect(profileOf(profileText({ compression: 'xz' })).warnings).toEqual([])
  })
})

describe('what stock qubesd silently misreads is refused, with code and place', () => {
  test.each(refused)('$name', ({ text, expect: code, line, column }) => {
    const error = errorOf(() => profileOf(text))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(new RegExp(`^line ${line}, column ${column}: .`))
    expect(error.hint).not.toBe('')
  })

  test('a passphrase in clear text reaches no message', () => {
    const error = errorOf(() => profileOf(profileText({ passphrase_text: '"correct horse"' })))
    expect(`${error.message} ${error.hint} ${String(error.stack)}`).not.toContain('correct')
    expect(error.hint).toContain('passphrase_vm')
  })

  test('the keys that an unknown one is answered with are all accepted', () => {
    const { message } = errorOf(() => profileOf(profileText({ passphrase: 'x' })))
    const [, offered = ''] = /; the keys are (.*)$/.exec(message) ?? []
    expect(offered.split(', ')).toContain('passphrase_vm')
    expect(offered).not.toContain('passphrase_text')
  })

  test('bytes that are no UTF-8', () => {
    const bytes = new Uint8Array([...Buffer.from(profileText()), 0x23, 0xff])
    expect(errorOf(() => parseProfile(new Untrusted(bytes), nightly)).code).toBe('PROFILE_TEXT')
  })

  test('one byte more than is read', () => {
    const text = profileText()
    const padded = (length: number) => `${text}${'#'.repeat(length - text.length - 1)}\n`
    expect(profileOf(padded(profileBytesMax)).name).toBe('nightly')
    expect(errorOf(() => profileOf(padded(profileBytesMax + 1))).code).toBe('PROFILE_TOO_LARGE')
  })

  test('text from the file is made printable in messages', () => {
    const error = errorOf(() => profileOf(profileText({ '"\\e[31mred"': 'x' })))
    expect(error.code).toBe('PROFILE_KEY_UNKNOWN')
    expect(error.message).toContain('?[31mred')
  })
})

describe('our keys', () => {
  test('all of them', () => {
    const profile = profileOf(
      `${profileText()}strongroom:
  retention:
    keep_last: 3
    keep_hourly: 24
    keep_daily: 14
    keep_weekly: 8
    keep_monthly: 12
    keep_yearly: 0
    keep_within_days: 30
  holds: { days_max: 30, may_end: yes }
  limits: { orders_per_day: 4, minutes_between: 60 }
  schedule:
    calendar: 'Mon..Fri 21:00'
    time_zone: Europe/Berlin
    jitter_minutes: 20
    catch_up: no
  budget:
    upload_kib_per_second: 16
    priority: normal
    on_battery: slow
    on_metered: wait
    wait_hours_max: 48
    after_wait: fail
  max_age_days: 3
  check_within_days: 30
  volumes: [ private ]
`,
    )
    expect(profile).toMatchObject({
      retention: {
        keepLast: 3,
        keepHourly: 24,
        keepDaily: 14,
        keepWeekly: 8,
        keepMonthly: 12,
        keepYearly: 0,
        keepWithinDays: 30,
      },
      holds: { daysMax: 30, mayEnd: true },
      limits: { ordersPerDay: 4, minutesBetween: 60 },
      schedule: { timeZone: 'Europe/Berlin', jitterMinutes: 20, catchUp: false },
      budget: {
        uploadBytesPerSecond: 16_384,
        priority: 'normal',
        onBattery: 'slow',
        onMetered: 'wait',
        meteredBytesPerSecond: null,
        waitHoursMax: 48,
        afterWait: 'fail',
      },
      maxAgeDays: 3,
      checkWithinDays: 30,
      volumes: ['private'],
    })
    expect(profile.schedule?.calendar.text).toBe('Mon..Fri *-*-* 21:00:00')
  })

  test('an absent rule is 0, an absent limit is none', () => {
    const profile = profileOf(
      profileText({ strongroom: '{ retention: { keep_last: 1 }, limits: { minutes_between: 5 } }' }),
    )
    expect(profile.retention).toMatchObject({ keepLast: 1, keepDaily: 0, keepWithinDays: 0 })
    expect(profile.limits).toEqual({ ordersPerDay: null, minutesBetween: 5 })
  })
})

test('whatever is done to a profile, it gives a profile or a CodedError', () => {
  const texts = [...accepted, ...refused].map(({ text }) => new TextEncoder().encode(text))
  fc.assert(
    fc.property(
      fc.constantFrom(...texts),
      fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'insert', 'remove', 'cut')), {
        maxLength: 4,
      }),
      (text, edits) => {
        const bytes = [...text]
        for (const [at, value, edit] of edits) {
          const index = bytes.length === 0 ? 0 : at % bytes.length
          if (edit === 'cut') bytes.length = index
          else if (edit === 'set') bytes[index] = value
          else bytes.splice(index, edit === 'remove' ? 1 : 0, ...(edit === 'remove' ? [] : [value]))
        }
        try {
          parseProfile(new Untrusted(new Uint8Array(bytes)), nightly)
        } catch (error) {
          if (!(error instanceof CodedError)) throw error
        }
      },
    ),
    { numRuns: 1500, seed: 20261124 },
  )
})

test.each(['[', '{a: ', '- ', '? ', '[*a,', '&a [', '"', "'", '|\n', '\n- '])(
  'a file of nothing but %j is refused',
  unit => {
    const text = unit.repeat(Math.floor(profileBytesMax / unit.length))
    expect(errorOf(() => profileOf(text)).code).toMatch(/^PROFILE_/)
  },
)
