import { readFile, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '../../../src/base/names.ts'
import { revokeCommand, rotateCommand } from '../../../src/sealing/ceremony/rotate.ts'
import { statusCommand } from '../../../src/sealing/ceremony/status.ts'
import { showCommand } from '../../../src/sealing/show.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, expires, signText } from '../fixture.ts'
import { type Holder, people } from './holders.ts'

/* What a carrier, or the holder of one key, tries with a proposal. */

let all: Awaited<ReturnType<typeof people<'alice' | 'user' | 'admin' | 'eve'>>>
let alice: Holder
let user: Holder
let admin: Holder
let eve: Holder
beforeEach(async () => {
  all = await people('alice', 'user', 'admin', 'eve')
  ;({ alice, user, admin, eve } = all.holders)
})
afterEach(() => all.directory[Symbol.asyncDispose]())

/** Alice has the root, the user `hsm`, the admin `schedules`. */
async function proposed(): Promise<string> {
  await alice.init({
    custody: 'superadmin',
    holders: new Map([
      ['hsm', [await user.key()]],
      ['schedules', [await admin.key()]],
    ]),
  })
  await alice.draft('roles.json', '{}\n')
  await alice.draft('hsm/work.json', '{"epoch":1}\n')
  return (await alice.propose()).result.file
}

async function firstVersion(): Promise<void> {
  const file = await proposed()
  for (const holder of [alice, user, admin]) await holder.sign(file)
  await alice.merge(file)
  for (const holder of [user, admin]) {
    await holder.receives(alice.workspace.pin)
    await holder.follows(alice, 1)
  }
}

const keysOf = async (role: string): Promise<readonly Digest[]> =>
  (await statusCommand(alice.directory, clock)).result.roles.find(one => one.role === role)?.keys ?? []

describe('who trusts no root yet', () => {
  test('is not made to trust one by merging, which asks nobody', async () => {
    await eve.init({ custody: 'superadmin' })
    await eve.draft('roles.json', '{"hsm":["evil"]}\n')
    const { file } = (await eve.propose()).result
    await eve.sign(file)
    const atUser = await user.receives(file)
    expect(await codeOf(() => user.merge(atUser))).toBe('SEAL_PIN_INVALID')
    await expect(readFile(user.workspace.pin)).rejects.toThrow('ENOENT')
    // With the pin, which somebody has put there, it is complete.
    await user.receives(eve.workspace.pin)
    expect((await user.merge(atUser)).result.update).not.toBeNull()
  })

  test('is given no second root besides the one that she is shown', async () => {
    const file = await proposed()
    expect(await codeOf(() => user.review(file))).toBe('ok')
    const [header, ...lines] = (await readFile(file, 'utf8')).split('\n')
    const second = Buffer.from(await signText('application/vnd.strongroom.root+json', '{}', [])).toString()
    await writeFile(file, [header, `2.root.json ${second.trim()}`, ...lines].join('\n'))
    expect(await codeOf(() => user.sign(file))).toBe('SEAL_ROOT_CHAIN')
  })
})

describe('what a holder is shown', () => {
  test('is how long each role would be valid, although something else expires earlier', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const honest = (await alice.propose()).text.join('\n')
    expect(honest).toContain(`in all: role hsm version 2, expires ${expires.toISOString()}: 0 files added`)
    const far = (await alice.propose({ expires: new Date('9999-01-01T00:00:00Z') })).result.file
    await user.sign(far)
    // The root expires sooner, so that the version does.
    expect(user.shown[0]).toContain(`version 2, expires ${expires.toISOString()}`)
    expect(user.shown.at(-1)).toBe(
      'in all: role hsm version 2, expires 9999-01-01T00:00:00.000Z: 0 files added, 1 changed, 0 removed',
    )
  })

  test('ends with what matters, however much there is to scroll through', async () => {
    await firstVersion()
    const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}\n`).join('')
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    await alice.draft('schedules/work.json', lines)
    const { file } = (await alice.propose()).result
    await user.sign(file)
    expect(user.shown.length).toBeGreaterThan(20_000)
    expect(user.shown.slice(-2).map(line => line.split(',')[0])).toEqual([
      'in all: role hsm version 2',
      'in all: role schedules version 2',
    ])
    const change = { add: [], remove: [], thresholds: new Map<string, number>(), custody: null, expires }
    const rotation = await rotateCommand({ directory: alice.directory, expires, clock, change })
    expect(rotation.result.difference.at(-1)).toBe('in all: root version 2: who may seal what, above')
  })
})

describe('a holder who is replaced', () => {
  test.each(['rotate-root', 'revoke'])(
    'may publish nothing any more, and her successor may: %s',
    async by => {
      await firstVersion()
      const [old = ''] = await keysOf('schedules')
      const options = { directory: alice.directory, expires, clock }
      const replacement = await eve.key()
      const change = {
        add: [{ role: 'schedules', key: replacement }],
        remove: [{ role: 'schedules', id: old }],
        thresholds: new Map<string, number>(),
        custody: null,
        expires,
      }
      const { file } = (
        by === 'revoke'
          ? await revokeCommand({ ...options, id: old, replacement })
          : await rotateCommand({ ...options, change })
      ).result
      await alice.sign(file)
      await eve.receives(alice.workspace.pin)
      await eve.follows(alice, 1)
      await eve.sign(file)
      await alice.merge(file)
      expect(await keysOf('schedules')).toEqual([replacement.id])
      expect(await keysOf('snapshot')).toContain(replacement.id)
      expect(await keysOf('snapshot')).not.toContain(old)
    },
  )

  test('a key that publishes and seals nothing stays until it is named', async () => {
    await firstVersion()
    const publisher = await eve.key()
    const rotate = async (add: boolean) => {
      const named = { role: 'snapshot', key: publisher, id: publisher.id }
      const change = {
        add: add ? [named] : [],
        remove: add ? [] : [named],
        thresholds: new Map<string, number>(),
        custody: null,
        expires,
      }
      const { file } = (await rotateCommand({ directory: alice.directory, expires, clock, change })).result
      await alice.sign(file)
      await alice.merge(file)
    }
    await rotate(true)
    expect(await keysOf('snapshot')).toContain(publisher.id)
    await rotate(false)
    expect(await keysOf('snapshot')).not.toContain(publisher.id)
  })
})

test('more holders than sixteen can sign, and all of them may', async () => {
  const root = await Promise.all(Array.from({ length: 20 }, (_, index) => alice.key(`holder-${index}`)))
  await alice.init({ holders: new Map([['root', root]]), thresholds: new Map([['root', 17]]) })
  await alice.draft('roles.json', '{}\n')
  const { file } = (await alice.propose()).result
  await alice.sign(file)
  expect((await alice.merge(file)).result.update).not.toBeNull()
  expect((await showCommand({ ...alice.workspace, clock })).result.version).toBe(1)
})

test('a key that nobody has used yet is told, until its holder signs', async () => {
  const unproven = (text: readonly string[]) => text.filter(line => line.includes('has signed nothing'))
  const file = await proposed()
  await alice.sign(file)
  expect(unproven((await user.sign(file)).text)).toEqual([
    expect.stringMatching(/^careful {3}key [0-9a-f]{16}… of schedules is new/),
  ])
  expect(unproven((await admin.sign(file)).text)).toEqual([])
  await alice.merge(file)
  expect(unproven((await alice.propose({ renew: true })).text)).toEqual([])
})

test('a threshold of all keys is told to who is asked for it', async () => {
  const root = [await alice.key(), await user.key()]
  await alice.init({ holders: new Map([['root', root]]) })
  await alice.draft('roles.json', '{}\n')
  const { difference } = (await alice.propose()).result
  expect(difference).toContain('  careful: it needs all of its keys, so none may be lost')
})
