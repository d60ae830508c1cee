import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { parseConfiguration } from '../../src/profiles/config.ts'
import { offeredPaths, standardRoles } from '../../src/sealing/standard-roles.ts'
import { codeOfNow } from '../support/code-of.ts'
import { errorOf, nightly, profileText } from './make.ts'

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64')
const binding = {
  epoch: 2,
  envelope: 'ab'.repeat(32),
  stock_passphrase: false,
  purposes: ['backup', 'check'],
  releases_per_day: null,
}
const roles = {
  hsm: ['vault'],
  management: ['mgmt'],
  storage: ['sys-store'],
  keys: { dom0: key(1), hsm: key(2) },
}

type Files = Record<string, string | undefined>
const honest: Files = {
  'profiles/nightly.conf': profileText(),
  'hsm/nightly.json': JSON.stringify(binding),
  'policy/30-strongroom.policy': 'strongroom.Order * mgmt dom0 allow\n',
  'roles.json': JSON.stringify(roles),
}

function configurationOf(changes: Files = {}) {
  const files = new Map<string, Uint8Array>()
  for (const [path, text] of Object.entries({ ...honest, ...changes }))
    if (text !== undefined) files.set(path, utf8(text))
  return parseConfiguration(files)
}
const withBinding = (changes: object) => ({ 'hsm/nightly.json': JSON.stringify({ ...binding, ...changes }) })
const withRoles = (changes: object) => ({ 'roles.json': JSON.stringify({ ...roles, ...changes }) })

test('the honest configuration', () => {
  const configuration = configurationOf()
  expect(configuration.profiles.get(nightly)?.passphraseVm).toBe('vault')
  expect(configuration.bindings.get(nightly)).toEqual({
    epoch: 2,
    envelope: 'ab'.repeat(32),
    stockPassphrase: false,
    purposes: ['backup', 'check'],
    releasesPerDay: null,
    approve: 'never',
    pinAgain: 'never',
    hours: null,
    attestation: 'none',
    earlier: [],
  })
  expect([...configuration.policies]).toEqual([['30-strongroom', 'strongroom.Order * mgmt dom0 allow\n']])
  expect(configuration.roles).toEqual({
    hsm: ['vault'],
    management: ['mgmt'],
    storage: ['sys-store'],
    keys: { dom0: new Uint8Array(32).fill(1), hsm: new Uint8Array(32).fill(2), management: null },
  })
})

test('a key may be given as OpenSSL writes it', () => {
  const { publicKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const { keys } = configurationOf(
    withRoles({ keys: { dom0: spki.toString('base64'), hsm: key(2), management: key(3) } }),
  ).roles
  expect(Buffer.from(keys.dom0).toString('base64url')).toBe(publicKey.export({ format: 'jwk' }).x)
  expect(keys.management).toEqual(new Uint8Array(32).fill(3))
})

test('holds what a new draft offers, and nothing else of what a root allows', () => {
  const files: Record<string, string> = {
    'profiles/': 'profiles/other.conf',
    'hsm/': 'hsm/other.json',
    'policy/': 'policy/other.policy',
    'schedules/': 'schedules/other.conf',
    'machine/': 'machine/other.json',
  }
  for (const limit of Object.values(standardRoles).flat()) {
    const known =
      codeOfNow(() => configurationOf({ [files[limit] ?? limit]: '{}' })) !== 'CONFIGURATION_FILE_UNKNOWN'
    expect({ limit, known }).toEqual({ limit, known: offeredPaths.includes(limit) })
  }
})

test('a schedule may have a file of its own, or stand in the profile, not both', () => {
  const schedule = { 'schedules/nightly.conf': 'calendar: mon..fri 21:00\ntime_zone: Europe/Berlin\n' }
  expect(configurationOf(schedule).profiles.get(nightly)?.schedule).toMatchObject({
    timeZone: 'Europe/Berlin',
    catchUp: true,
  })
  const both = {
    ...schedule,
    'profiles/nightly.conf': profileText({ strongroom: '{ schedule: { calendar: "21:00" } }' }),
  }
  expect(codeOfNow(() => configurationOf(both))).toBe('CONFIGURATION_TWICE')
})

describe('files', () => {
  test.each([
    'profiles/nightly.yaml',
    'profiles/sub/nightly.conf',
    'nightly.conf',
    'roles.json.bak',
    'Roles.json',
    'repositories.json',
    '/roles.json',
    '../roles.json',
    'profiles/',
    'hsm/nightly.conf',
    'policy/.hidden.policy',
    '',
  ])('%j is read by nothing', path => {
    const error = errorOf(() => configurationOf({ [path]: '{}' }))
    expect(error.code).toBe('CONFIGURATION_FILE_UNKNOWN')
    expect(error.message.startsWith(`${path}: `)).toBe(true)
  })

  test('a fault in a profile names file, line and column, and keeps code and hint', () => {
    const error = errorOf(() => configurationOf({ 'profiles/nightly.conf': profileText({ exlude: '[]' }) }))
    expect(error.code).toBe('PROFILE_KEY_UNKNOWN')
    expect(error.message).toMatch(/^profiles\/nightly\.conf: line 5, column 1: /)
    expect(error.hint).toContain('strongroom:')
  })

  test.each([
    [{ 'roles.json': undefined }, 'CONFIGURATION_INCOMPLETE', 'roles.json is missing'],
    [{ 'hsm/nightly.json': undefined }, 'CONFIGURATION_INCOMPLETE', 'no hsm/nightly.json'],
    [{ 'hsm/weekly.json': JSON.stringify(binding) }, 'CONFIGURATION_INCOMPLETE', 'no profiles/weekly.conf'],
    [
      { 'schedules/weekly.conf': 'calendar: sun 03:00' },
      'CONFIGURATION_INCOMPLETE',
      'no profiles/weekly.conf',
    ],
    [{ 'schedules/nightly.conf': 'calendar: whenever' }, 'CALENDAR_INVALID', 'line 1, column 11: calendar'],
    [
      { 'schedules/nightly.conf': '' },
      'PROFILE_NOT_MAPPING',
      'schedules/nightly.conf: the schedule is empty',
    ],
    [{ 'schedules/nightly.conf': `x: ${'y'.repeat(5000)}` }, 'PROFILE_TOO_LARGE', 'schedules/nightly.conf'],
    [{ 'policy/30-strongroom.policy': 'x'.repeat(300_000) }, 'PROFILE_TOO_LARGE', '300000 bytes'],
    [{ 'profiles/-x.conf': profileText() }, 'CONFIGURATION_FILE_INVALID', 'ProfileName'],
  ])('%o', (changes, code, text) => {
    const error = errorOf(() => configurationOf(changes))
    expect(error.code).toBe(code)
    expect(error.message).toContain(text)
  })
})

describe('bindings', () => {
  test.each([
    [{ epoch: 0 }, 'epoch'],
    [{ envelope: 'AB'.repeat(32) }, 'envelope'],
    [{ stock_passphrase: 'no' }, 'stock_passphrase'],
    [{ purposes: ['backup', 'sell'] }, 'purposes'],
    [{ purposes: ['backup', 'backup'] }, 'purposes'],
    [{ releases_per_day: 0 }, 'releases_per_day'],
    [{ releases_per_day: undefined }, 'releases_per_day'],
    [{ more: 1 }, 'more'],
  ])('%o', (changes, field) => {
    const error = errorOf(() => configurationOf(withBinding(changes)))
    expect(error.code).toBe('CONFIGURATION_FILE_INVALID')
    expect(error.message).toContain(field)
    expect(error.message).toContain('hsm/nightly.json')
  })
})

describe('roles', () => {
  test.each([
    [{ hsm: ['other'] }, "line 4, column 16: passphrase_vm is 'vault'"],
    [{ storage: ['other'] }, "line 2, column 17: destination_vm is 'sys-store'"],
    [{ management: ['vault'] }, "'vault' is named for 'management' but already is 'hsm'"],
    [{ storage: ['sys-store', 'sys-store'] }, "'sys-store'"],
    [{ storage: ['dom0'] }, "'dom0'"],
    [{ hsm: [] }, "'hsm' names no VM"],
    [{ keys: { dom0: key(1), hsm: key(1) } }, 'the same'],
  ])('%o', (changes, text) => {
    const error = errorOf(() => configurationOf(withRoles(changes)))
    expect(error.code).toBe('CONFIGURATION_ROLE')
    expect(error.message).toContain(text)
  })

  test.each([
    { keys: { dom0: key(1) } },
    { keys: { dom0: key(1), hsm: Buffer.alloc(31).toString('base64') } },
    { keys: { dom0: key(1), hsm: `${key(2)} ` } },
    { hsm: 'vault' },
    { hsm: ['va ult'] },
    { disposable: ['x'] },
  ])('%o', changes => {
    expect(errorOf(() => configurationOf(withRoles(changes))).code).toBe('CONFIGURATION_FILE_INVALID')
  })
})

test('a damaged file gives a configuration or a CodedError', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(honest)),
      fc.nat(),
      fc.integer({ min: 0, max: 255 }),
      (path, at, value) => {
        const files = new Map(Object.entries(honest).map(([name, text]) => [name, utf8(text ?? '')]))
        const bytes = files.get(path)
        if (bytes !== undefined) bytes[at % bytes.length] = value
        try {
          parseConfiguration(files)
        } catch (error) {
          if (!(error instanceof CodedError)) throw error
        }
      },
    ),
    { numRuns: 500, seed: 20261124 },
  )
})
