import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { generateEd25519 } from '../../../src/crypto/signing.ts'
import { discardCommand } from '../../../src/sealing/ceremony/discard.ts'
import { statusCommand } from '../../../src/sealing/ceremony/status.ts'
import { readGeneration } from '../../../src/sealing/generation.ts'
import { publicKey } from '../../../src/sealing/keys.ts'
import { readPin } from '../../../src/sealing/pin.ts'
import { showCommand } from '../../../src/sealing/show.ts'
import { verifyStore } from '../../../src/sealing/verify.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, expires, seeded, signal } from '../fixture.ts'
import { type Holder, people } from './holders.ts'

let all: Awaited<ReturnType<typeof people<'admin' | 'user'>>>
let admin: Holder
let user: Holder
beforeEach(async () => {
  all = await people('admin', 'user')
  ;({ admin, user } = all.holders)
  await admin.init({ custody: 'superadmin', holders: new Map([['hsm', [await user.key()]]]) })
  await admin.draft('roles.json', '{}\n')
  await admin.draft('hsm/work.json', '{"epoch":1}\n')
  const { file } = (await admin.propose()).result
  await admin.sign(file)
  await user.sign(file)
  await admin.merge(file)
})
afterEach(() => all.directory[Symbol.asyncDispose]())

const discard = (changes: Partial<Parameters<typeof discardCommand>[0]> = {}) =>
  discardCommand(
    {
      directory: admin.directory,
      clock,
      entropy: seeded('discarded'),
      keep: ['hsm'],
      withOwner: true,
      ...changes,
    },
    signal,
  )

async function discarded() {
  const { file, discarded: keys } = (await discard()).result
  await admin.sign(file)
  await admin.merge(file)
  return keys
}

describe('discarded keys', () => {
  test('come into force by the signatures of the root before them', async () => {
    const { result } = await discard()
    // One for root, profiles, policy, schedules and machine each.
    expect(result.discarded).toHaveLength(5)
    expect((await admin.merge(result.file)).result.update).toBeNull()
    await admin.sign(result.file)
    expect((await admin.merge(result.file)).result.update).not.toBeNull()
    const shown = (await showCommand({ ...admin.workspace, clock })).result
    expect(shown).toMatchObject({ version: 2, rootVersion: 2, custody: 'discarded' })
    expect(shown.files).toHaveLength(2)
  })

  test('leave the machine working in a hundred years, as far as nobody has to sign', async () => {
    const { file } = (await discard({ keep: [] })).result
    await admin.sign(file)
    await admin.merge(file)
    const late = { ...clock, now: () => new Date('2126-01-01T00:00:00Z') }
    const { result } = await showCommand({ ...admin.workspace, clock: late })
    expect(result).toMatchObject({
      custody: 'discarded',
      expired: false,
      expires: '9999-12-31T23:59:59.000Z',
    })
  })

  test('can change nothing any more, and neither can the keys before them', async () => {
    await discarded()
    await admin.draft('roles.json', '{"v":1}\n')
    const { file } = (await admin.propose()).result
    expect(await codeOf(() => admin.sign(file))).toBe('SEAL_NOTHING_TO_SIGN')
    expect((await admin.merge(file)).result.update).toBeNull()
  })

  test('are not discarded twice', async () => {
    await discarded()
    expect(await codeOf(() => discard())).toBe('SEAL_DISCARDED')
  })

  test('leave a role that was kept to its holder', async () => {
    await discarded()
    await admin.draft('hsm/work.json', '{"epoch":2}\n')
    const { file } = (await admin.propose({ expires })).result
    const own = await user.receives(file)
    await user.receives(admin.workspace.pin)
    await user.follows(admin, 2)
    await user.sign(own)
    expect((await admin.merge(own)).result.update).not.toBeNull()
  })

  test('leave its holder to renew it, with nothing that nobody could sign', async () => {
    await discarded()
    const { file, difference } = (await admin.propose({ renew: true })).result
    expect(difference[0]).toMatch(/ signs roles\/hsm\.json, snapshot\.json$/)
    const own = await user.receives(file)
    await user.receives(admin.workspace.pin)
    await user.follows(admin, 2)
    await user.sign(own)
    expect((await admin.merge(own)).result.update).not.toBeNull()
  })

  test('are in no file', async () => {
    const keys = await discarded()
    // The first is made of the first bytes of the entropy, so what to search for is known.
    using first = generateEd25519(seeded('discarded'))
    const needle = first.privateKey.expose(bytes => Buffer.from(bytes.subarray(-32)))
    expect(keys).toContain(publicKey('ed25519', first.publicKey).id)
    const names = await readdir(admin.directory, { recursive: true, withFileTypes: true })
    const files = names.filter(entry => entry.isFile()).map(entry => path.join(entry.parentPath, entry.name))
    expect(files.length).toBeGreaterThan(10)
    for (const file of files) {
      const bytes = await readFile(file)
      const decoded = Buffer.from(bytes.toString('latin1').replace(/[^A-Za-z0-9+/=]/g, ''), 'base64')
      for (const text of [bytes, decoded]) expect(text.includes(needle), file).toBe(false)
      expect(bytes.toString('latin1'), file).not.toContain(needle.toString('hex'))
      expect(bytes.toString('latin1'), file).not.toContain(needle.toString('base64').slice(0, 40))
    }
  })

  test('the owner key stays unless it is left out by a word', async () => {
    await discarded()
    expect((await statusCommand(admin.directory, clock)).result.owner).toBe(true)
  })

  test('without an owner key the status says so', async () => {
    const { file } = (await discard({ withOwner: false })).result
    await admin.sign(file)
    await admin.merge(file)
    const { result, text } = await statusCommand(admin.directory, clock)
    expect(result.owner).toBe(false)
    expect(text.join('\n')).toContain('no owner key')
  })
})

test('what is sealed verifies from the first pin on', async () => {
  await discarded()
  const pin = await readPin(admin.workspace.pin)
  const files = await readGeneration(admin.workspace.store)
  expect(verifyStore(files, pin, null, clock.now()).custody).toBe('discarded')
})
