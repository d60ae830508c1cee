import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseConfiguration } from '../../src/profiles/config.ts'
import { profileErrors } from '../../src/profiles/errors.ts'
import { errorOf, profileOf, profileText } from './make.ts'

const page = readFileSync(new URL('../../docs/reference/profile.md', import.meta.url), 'utf8')

test('the reference page names every code, and no other', () => {
  const named = new Set(page.match(/\b(?:PROFILE|CALENDAR|TIME_ZONE|CONFIGURATION)_[A-Z_]+\b/g))
  expect([...named].sort()).toEqual(Object.keys(profileErrors).sort())
})

test('the reference page names every key', () => {
  const listed = [
    errorOf(() => profileOf(profileText({ unknown: 'x' }))),
    ...[
      '{ unknown: 1 }',
      '{ retention: { unknown: 1 } }',
      '{ limits: { unknown: 1 } }',
      '{ budget: { unknown: 1 } }',
      '{ holds: { unknown: 1 } }',
      '{ drill: { unknown: 1 } }',
    ].map(value => errorOf(() => profileOf(profileText({ strongroom: value })))),
    errorOf(() => profileOf(profileText({ strongroom: '{ schedule: { unknown: 1 } }' }))),
  ].flatMap(({ message }) => message.slice(message.indexOf('the keys are ') + 13).split(', '))
  expect(listed).toHaveLength(43)
  for (const key of listed) expect(page).toContain(`\`${key}\``)
})

test('the example of the reference page is a profile', () => {
  const example = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? ''
  expect(profileOf(example)).toMatchObject({
    destinationVm: 'sys-backup-store',
    retention: { keepDaily: 14 },
    schedule: { timeZone: 'Europe/Berlin', jitterMinutes: 20 },
    maxAgeDays: 3,
    checkWithinDays: 30,
  })
})

test('an empty configuration is incomplete', () => {
  expect(errorOf(() => parseConfiguration(new Map())).code).toBe('CONFIGURATION_INCOMPLETE')
})
