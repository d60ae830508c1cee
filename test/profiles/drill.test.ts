import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { parseProfileName } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { ProfileError } from '../../src/profiles/errors.ts'
import { parseProfile } from '../../src/profiles/profile.ts'

const head = `include: [ work ]
destination_vm: sys-store
destination_path: /backup
passphrase_vm: vault
strongroom:
  drill:
`

function drillOf(...lines: readonly string[]) {
  const text = head + lines.map(one => `    ${one}\n`).join('')
  return parseProfile(new Untrusted(utf8(text)), parseProfileName('nightly')).drill
}

describe('what a profile says of drills', () => {
  test('is read whole', () => {
    expect(
      drillOf(
        'levels: [ program, files, data, boot ]',
        'within_days: 7',
        'files:',
        '  - { vm: work, volume: private, path: /home/user/canary, age_days_max: 2 }',
        `  - { vm: work, volume: root, path: /etc/os-release, contains: Debian, sha256: ${'0'.repeat(63)}a }`,
        'boot: { vm: work, marker: "login:" }',
        'program: |',
        '  test -s "$VOLUMES/work/private.img"',
        '  exit 0',
      ),
    ).toEqual({
      levels: ['data', 'files', 'boot', 'program'],
      withinDays: 7,
      files: [
        {
          vm: 'work',
          volume: 'private',
          path: '/home/user/canary',
          sha256: null,
          ageDaysMax: 2,
          contains: null,
        },
        {
          vm: 'work',
          volume: 'root',
          path: '/etc/os-release',
          sha256: `${'0'.repeat(63)}a`,
          ageDaysMax: null,
          contains: 'Debian',
        },
      ],
      boot: { vm: 'work', marker: 'login:', secondsMax: 300 },
      program: 'test -s "$VOLUMES/work/private.img"\nexit 0\n',
    })
    expect(drillOf('levels: [ objects ]')).toMatchObject({ levels: ['objects'], withinDays: null, files: [] })
  })

  const file = (fields: string) => [
    'levels: [ data, files ]',
    `files: [ { vm: work, volume: private, ${fields} } ]`,
  ]
  test.each<readonly [string, ...string[]]>([
    ['PROFILE_KEY_MISSING', 'within_days: 7'],
    ['PROFILE_VALUE', 'levels: []'],
    ['PROFILE_VALUE', 'levels: [ data, data ]'],
    ['PROFILE_VALUE', 'levels: [ objects, filesystem ]'],
    ['PROFILE_VALUE', 'levels: [ everything ]'],
    ['PROFILE_KEY_UNKNOWN', 'levels: [ data ]', 'often: 7'],
    ['PROFILE_VALUE', 'levels: [ data ]', 'within_days: 0'],
    ['PROFILE_KEY_MISSING', 'levels: [ data, files ]'],
    ['PROFILE_KEY_MISSING', 'levels: [ data, boot ]'],
    ['PROFILE_KEY_MISSING', 'levels: [ data, program ]'],
    ['PROFILE_VALUE', 'levels: [ data ]', 'program: exit 0'],
    ['PROFILE_VALUE', 'levels: [ data, files ]', 'files: []'],
    ['PROFILE_VALUE', ...file('path: home')],
    ['PROFILE_VALUE', ...file('path: /home//user')],
    ['PROFILE_VALUE', ...file('path: /home/../etc/shadow')],
    ['PROFILE_VALUE', ...file('path: "/home/\\n"')],
    ['PROFILE_VALUE', ...file('path: /home, sha256: abc')],
    ['PROFILE_KEY_MISSING', 'levels: [ data, files ]', 'files: [ { vm: work, path: /home } ]'],
    ['PROFILE_KEY_MISSING', 'levels: [ data, boot ]', 'boot: { vm: work }'],
    ['PROFILE_VALUE', 'levels: [ data, boot ]', 'boot: { vm: work, marker: "", seconds_max: 1 }'],
    ['PROFILE_VALUE', 'levels: [ data, boot ]', 'boot: { vm: work, marker: x, seconds_max: 3601 }'],
    ['PROFILE_TYPE', 'levels: [ data, program ]', 'program: 1'],
  ])('is refused with %s: %s %s', (code, ...lines) => {
    const refusal = (() => {
      try {
        return drillOf(...lines)
      } catch (error) {
        return error
      }
    })()
    expect(refusal).toBeInstanceOf(ProfileError)
    expect(refusal).toMatchObject({ code })
  })
})
