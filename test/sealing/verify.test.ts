import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { encodeRole, parseRole } from '../../src/sealing/role.ts'
import { namedFiles, type StoreFiles, storeFiles } from '../../src/sealing/store-files.ts'
import { encodeUpdate, parseUpdate } from '../../src/sealing/update.ts'
import { floorOf, verifyStore } from '../../src/sealing/verify.ts'
import { codeOf } from '../support/code-of.ts'
import {
  emptyStore,
  expires,
  firstFiles,
  firstRoot,
  next,
  now,
  payloadDigest,
  secondFiles,
  twoVersions,
} from './fixture.ts'

let made: Awaited<ReturnType<typeof twoVersions>>
beforeAll(async () => {
  made = await twoVersions()
})

function mutated(files: StoreFiles, file: number, at: number, xor: number): StoreFiles {
  const named = namedFiles(files).map(([name, bytes]) => [name, Uint8Array.from(bytes)] as const)
  const bytes = named[file % named.length]?.[1] ?? new Uint8Array()
  const offset = at % bytes.byteLength
  bytes[offset] = (bytes[offset] ?? 0) ^ xor
  return storeFiles(named)
}

describe('a store', () => {
  test('gives back what was sealed, and names it', () => {
    const { pin, first, second } = made
    const found = verifyStore(second.files, pin, floorOf(first.configuration), now)
    expect(found.files).toEqual(secondFiles)
    expect(found).toMatchObject({ version: 2, custody: 'split', expired: false, expires })
    expect(found.digest).toBe(payloadDigest(second.files.snapshot ?? new Uint8Array()))
    expect(found.previous).toBe(first.configuration.digest)
  })

  test('signs only the roles that changed', () => {
    const { first, second } = made
    const changed = [...second.files.roles].filter(
      ([role, bytes]) => Buffer.compare(first.files.roles.get(role) ?? new Uint8Array(), bytes) !== 0,
    )
    expect(changed.map(([role]) => role)).toEqual(['profiles'])
    expect(namedFiles(parseUpdate(second.update)).map(([name]) => name)).toEqual([
      'snapshot.json',
      'roles/profiles.json',
    ])
  })

  test('refuses every change of one byte in any file', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (file, at, xor) => {
        expect(() => verifyStore(mutated(made.second.files, file, at, xor), made.pin, null, now)).toThrow(
          CodedError,
        )
      }),
      { numRuns: 300, seed: 7 },
    )
  })

  test('refuses a change of one bit all along the snapshot', () => {
    const snapshot = made.second.files.snapshot ?? new Uint8Array()
    for (let at = 0; at < snapshot.byteLength; at += 11) {
      const changed = Uint8Array.from(snapshot)
      changed[at] = (changed[at] ?? 0) ^ 1
      const files = { ...made.second.files, snapshot: changed }
      expect(() => verifyStore(files, made.pin, null, now), `byte ${at}`).toThrow(CodedError)
    }
  })

  test('refuses every truncation and every extension', () => {
    for (const [name, bytes] of namedFiles(made.second.files))
      for (const other of [
        bytes.subarray(0, -1),
        bytes.subarray(1),
        Buffer.concat([bytes, utf8('\n')]),
        new Uint8Array(),
      ]) {
        const files = namedFiles(made.second.files).map(one =>
          one[0] === name ? ([name, other] as const) : one,
        )
        expect(() => verifyStore(storeFiles(files), made.pin, null, now), name).toThrow(CodedError)
      }
  })

  test('takes ten thousand profiles', async () => {
    const { root, pin } = await firstRoot()
    const files = new Map(firstFiles)
    for (let index = 0; index < 10_000; index++)
      files.set(
        `profiles/vm-${index}.conf`,
        utf8(`include:\n- vm-${index}\npassphrase_vm: vault\ndestination_vm: sink\n`),
      )
    const { files: sealed } = await next(emptyStore(root), pin, files)
    const found = verifyStore(sealed, pin, null, now)
    expect(found.files.size).toBe(10_004)
  })
})

describe('a signed payload', () => {
  test('with text of many megabytes is a typed error', async () => {
    const payload = utf8(`{"v":"${'x'.repeat(12_000_000)}"}`)
    expect(await codeOf(() => parseRole(payload, 'profiles', [], 'test'))).toBe('SEAL_PAYLOAD_INVALID')
  })

  test.each([
    ['an accent', 'profiles/wörk.conf'],
    ['a letter beyond 16 bits', 'profiles/\u{1f512}.conf'],
    ['a mark that turns the text around', 'profiles/\u202efnoc.conf'],
    ['a character that ends a text elsewhere', 'profiles/a\u0000.conf'],
  ])('with a name that JSON libraries could order or show in two ways is refused: %s', async (_, path) => {
    const payload = (name: string) =>
      encodeRole({
        role: 'profiles',
        version: 1,
        previous: null,
        expires,
        files: new Map([[name, utf8('x')]]),
      })
    const read = (name: string) => parseRole(payload(name), 'profiles', ['profiles/'], 'test')
    expect(read('profiles/__proto__').files.get('profiles/__proto__')).toEqual(utf8('x'))
    expect(await codeOf(() => read(path))).toBe('SEAL_PATH_REFUSED')
  })

  test('with a file larger than is allowed is refused', async () => {
    const files = new Map([['profiles/work.conf', new Uint8Array(256 * 1024 + 1)]])
    const payload = encodeRole({ role: 'profiles', version: 1, previous: null, expires, files })
    expect(await codeOf(() => parseRole(payload, 'profiles', ['profiles/'], 'test'))).toBe('SEAL_TOO_LARGE')
  })
})

describe('an update', () => {
  test('comes back as it was written', () => {
    const { second } = made
    expect(parseUpdate(encodeUpdate(second.files))).toEqual(second.files)
  })

  test('in any mangled form gives a value or a typed error', () => {
    const bytes = made.second.update
    fc.assert(
      fc.property(fc.nat(bytes.byteLength - 1), fc.nat(255), fc.nat(bytes.byteLength), (at, value, end) => {
        const changed = Uint8Array.from(bytes).subarray(0, end)
        if (at < changed.byteLength) changed[at] = value
        try {
          parseUpdate(changed)
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }),
      { numRuns: 500, seed: 7 },
    )
  })

  test.each([
    ['nothing', ''],
    ['another header', 'strongroom update 2\n'],
    ['a name that climbs', 'strongroom update 1\n../snapshot.json {}\n'],
    ['a name twice', 'strongroom update 1\nsnapshot.json {}\nsnapshot.json {}\n'],
    ['no end of the last line', 'strongroom update 1\nsnapshot.json {}'],
    ['no name', `strongroom update 1\n${'x'.repeat(200)}\n`],
  ])('with %s is malformed', (_, text) => {
    expect(() => parseUpdate(utf8(text))).toThrow(expect.objectContaining({ code: 'SEAL_UPDATE_MALFORMED' }))
  })
})
