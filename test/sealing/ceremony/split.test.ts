import { readFile, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { revokeCommand, rotateCommand } from '../../../src/sealing/ceremony/rotate.ts'
import { statusCommand } from '../../../src/sealing/ceremony/status.ts'
import { showCommand } from '../../../src/sealing/show.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, expires } from '../fixture.ts'
import { type Holder, people } from './holders.ts'

let all: Awaited<ReturnType<typeof people<'alice' | 'bob' | 'carol' | 'dave' | 'user'>>>
let alice: Holder
let bob: Holder
let carol: Holder
let dave: Holder
let user: Holder
beforeEach(async () => {
  all = await people('alice', 'bob', 'carol', 'dave', 'user')
  ;({ alice, bob, carol, dave, user } = all.holders)
})
afterEach(() => all.directory[Symbol.asyncDispose]())

const versionOf = async ({ workspace, clock: now }: Holder) =>
  (await showCommand({ ...workspace, clock: now })).result.version

/** Alice makes the root; two of Alice, Bob and Carol may change it; the user holds `hsm`. Nothing is sealed yet. */
async function threeHolders(): Promise<void> {
  const root = [await alice.key(), await bob.key(), await carol.key()]
  const hsm = [await user.key()]
  await alice.init({
    holders: new Map([
      ['root', root],
      ['hsm', hsm],
    ]),
  })
  await alice.draft('roles.json', '{}\n')
  await alice.draft('hsm/work.json', '{"epoch":1}\n')
}

/** The first version, signed by Bob and the user on machines of their own. */
async function firstVersion(): Promise<string> {
  await threeHolders()
  const { file } = (await alice.propose()).result
  await alice.sign(file)
  const atBob = await bob.receives(file)
  await bob.sign(atBob)
  const atUser = await user.receives(file)
  await user.sign(atUser)
  await alice.merge(file, atBob, atUser)
  for (const holder of [bob, carol, user]) {
    await holder.receives(alice.workspace.pin)
    await holder.follows(alice, 1)
  }
  return file
}

describe('the first version', () => {
  test('is sealed when two of three holders and the user have signed, in any order, at the same time', async () => {
    await firstVersion()
    const { result } = await showCommand({ ...alice.workspace, clock })
    expect(result).toMatchObject({ version: 1, custody: 'split', rootVersion: 1 })
    expect(result.files.map(({ path }) => path).sort()).toEqual(['hsm/work.json', 'roles.json'])
    for (const holder of [bob, carol, user]) expect(await versionOf(holder)).toBe(1)
  })

  test('who trusts no root yet is told that this one is new, and trusts it by her yes', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    expect((await bob.review(file)).text[0]).toMatch(/^careful {3}root [0-9a-f]{64} is new to this machine/)
    await bob.sign(await bob.receives(file))
    expect(bob.shown[0]).toMatch(/^root [0-9a-f]{64} is new to this machine/)
    expect(bob.shown.join('\n')).toContain('role hsm, new\n  needs: 1 of 1 keys')
    expect(await readFile(bob.workspace.pin)).toEqual(await readFile(alice.workspace.pin))
  })

  test('a holder who says no signs nothing', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    const before = await readFile(file)
    bob.answer = false
    const own = await bob.receives(file)
    expect(await codeOf(() => bob.sign(own))).toBe('SEAL_DECLINED')
    expect(await readFile(own)).toEqual(before)
  })

  test('a signature that comes after it was sealed is no fork', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    const late = await carol.receives(file)
    await carol.sign(late)
    const own = [await bob.receives(file), await user.receives(file)]
    await alice.sign(file)
    await bob.sign(String(own[0]))
    await user.sign(String(own[1]))
    await alice.merge(file, ...own)
    expect(await versionOf(alice)).toBe(1)
    expect(await codeOf(() => alice.merge(file, late))).toBe('SEAL_INSTALLED')
    expect(await codeOf(() => alice.review(late))).toBe('SEAL_INSTALLED')
  })

  test('a file that is none is called no proposal', async () => {
    await threeHolders()
    await expect(alice.review(alice.workspace.pin)).rejects.toThrow(/^not a proposal: /)
  })

  test('with too few signatures nothing is sealed, and it is told whose are missing', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    await alice.sign(file)
    const merged = await alice.merge(file)
    expect(merged.result.update).toBeNull()
    expect(merged.text.join('\n')).toContain('1.root.json: by ')
    expect(merged.text.join('\n')).toMatch(/1\.root\.json: by [0-9a-f]{16}…; needs 1 more of /)
    expect(merged.text.join('\n')).toMatch(/roles\/hsm\.json: by nobody; needs 1 more of /)
    expect((await statusCommand(alice.directory, clock)).text.join('\n')).toContain('sealed    nothing yet')
  })

  test('the same holder twice is one', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    await alice.sign(file)
    expect(await codeOf(() => alice.sign(file))).toBe('SEAL_NOTHING_TO_SIGN')
  })

  test('whose key is not asked for cannot sign', async () => {
    await threeHolders()
    const { file } = (await alice.propose()).result
    await dave.key()
    expect(await codeOf(async () => dave.sign(await dave.receives(file)))).toBe('SEAL_NOTHING_TO_SIGN')
  })
})

describe('the next version', () => {
  test('the user alone changes what concerns her key', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const { file } = (await alice.propose()).result
    const own = await user.receives(file)
    await user.sign(own)
    expect(user.shown.slice(1)).toEqual([
      'changed hsm/work.json',
      '  - {"epoch":1}',
      '  + {"epoch":2}',
      `in all: role hsm version 2, expires ${expires.toISOString()}: 0 files added, 1 changed, 0 removed`,
    ])
    expect((await alice.merge(own)).result.update).not.toBeNull()
    await user.follows(alice, 2)
    expect(await versionOf(user)).toBe(2)
  })

  test('nobody else can, whatever other keys they hold', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const { file } = (await alice.propose()).result
    // Alice holds every other role, and may publish.
    await alice.sign(file)
    const merged = await alice.merge(file)
    expect(merged.result.update).toBeNull()
    expect(merged.text.join('\n')).toMatch(/roles\/hsm\.json: by nobody; needs 1 more of /)
  })

  test('a proposal that was changed on its way is refused by whoever reads it', async () => {
    await firstVersion()
    await alice.draft('roles.json', '{"v":1}\n')
    const { file } = (await alice.propose()).result
    await alice.sign(file)
    const text = await readFile(file, 'latin1')
    const at = text.indexOf('"payload":"', text.indexOf('roles/machine.json')) + 60
    const other = text[at] === 'A' ? 'B' : 'A'
    await writeFile(file, `${text.slice(0, at)}${other}${text.slice(at + 1)}`, 'latin1')
    expect(await codeOf(() => user.review(file))).toMatch(/^SEAL_(SIGNATURE_INVALID|ENVELOPE_MALFORMED)$/)
  })

  test('made from an old copy, it is refused by who has a newer one', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const stale = await user.receives((await alice.propose()).result.file)
    await user.sign(stale)
    await alice.merge(stale)
    await user.follows(alice, 2)
    expect(await codeOf(() => user.review(stale))).toMatch(/^SEAL_(INSTALLED|FORKED)$/)
    expect(await codeOf(() => bob.review(stale))).toBe('ok')
  })

  test('two proposals of one version do not merge', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const one = await user.receives((await alice.propose()).result.file)
    await alice.draft('hsm/work.json', '{"epoch":3}\n')
    const other = (await alice.propose()).result.file
    expect(await codeOf(() => alice.merge(one, other))).toBe('SEAL_PROPOSALS_DIFFER')
  })

  test('who proposes again is told that signatures were lost, if there were any', async () => {
    await firstVersion()
    await alice.draft('hsm/work.json', '{"epoch":2}\n')
    const { file } = (await alice.propose()).result
    await alice.draft('hsm/work.json', '{"epoch":3}\n')
    expect((await alice.propose()).text[0]).toMatch(/^proposal /)
    await user.sign(file)
    await alice.draft('hsm/work.json', '{"epoch":4}\n')
    expect((await alice.propose()).text[0]).toMatch(/^careful .* signatures/)
  })

  test('whoever did not make the root has a draft of what is sealed, and proposes from there', async () => {
    await firstVersion()
    expect(await codeOf(() => user.propose())).toBe('SEAL_DRAFT_INVALID')
    const { store, pin, floor, draft } = user.workspace
    await showCommand({ store, pin, floor, clock, out: draft })
    expect(await codeOf(() => showCommand({ store, pin, floor, clock, out: draft }))).toBe('SEAL_EXISTS')
    expect(await codeOf(() => user.propose())).toBe('SEAL_UNCHANGED')
    await user.draft('hsm/work.json', '{"epoch":2}\n')
    const { file, difference } = (await user.propose()).result
    expect(difference.filter(line => /^(added|changed|removed) /.test(line))).toEqual([
      'changed hsm/work.json',
    ])
    await user.sign(file)
    await user.merge(file)
    expect(await versionOf(user)).toBe(2)
  })

  test('a proposal under another root is named as such', async () => {
    await firstVersion()
    await dave.init({ custody: 'superadmin' })
    await dave.draft('hsm/work.json', '{"epoch":2}\n')
    const { file } = (await dave.propose()).result
    expect(await codeOf(() => alice.review(file))).toBe('SEAL_ROOT_UNPINNED')
  })
})

describe('rotation', () => {
  const none = { add: [], remove: [], thresholds: new Map<string, number>(), custody: null, expires }

  /** Carol has lost her key; Dave takes her place. */
  async function replaceCarol(): Promise<{ file: string; carolId: string }> {
    await firstVersion()
    const { roles } = (await statusCommand(alice.directory, clock)).result
    const carolId = roles.find(({ role }) => role === 'root')?.keys[2] ?? ''
    const replacement = await dave.key()
    const options = { directory: alice.directory, expires, clock, id: carolId.slice(0, 8), replacement }
    return { file: (await revokeCommand(options)).result.file, carolId }
  }

  test('a lost key is replaced by two of the old and two of the new holders', async () => {
    const { file, carolId } = await replaceCarol()
    await alice.sign(file)
    const atBob = await bob.receives(file)
    await bob.sign(atBob)
    expect(bob.shown.join('\n')).toContain(`- key ${carolId.slice(0, 16)}…`)
    expect((await alice.merge(file, atBob)).result.update).not.toBeNull()
    const { result } = await showCommand({ ...alice.workspace, clock })
    expect(result).toMatchObject({ version: 2, rootVersion: 2 })
    // What was sealed under the root before stays as it is.
    expect(result.roles.map(({ version }) => version)).toEqual([1, 1, 1, 1, 1])
    await bob.follows(alice, 2)
    expect(await versionOf(bob)).toBe(2)
    // And then Dave counts and Carol does not.
    const next = (await rotateCommand({ directory: alice.directory, expires, clock, change: none })).result
      .file
    await alice.sign(next)
    await carol.follows(alice, 2)
    expect(await codeOf(async () => carol.sign(await carol.receives(next)))).toBe('SEAL_NOTHING_TO_SIGN')
    const atDave = await dave.receives(next)
    await dave.receives(alice.workspace.pin)
    await dave.follows(alice, 2)
    await dave.sign(atDave)
    expect((await alice.merge(next, atDave)).result.update).not.toBeNull()
  })

  test('one old holder and the new one are not enough', async () => {
    const { file } = await replaceCarol()
    await alice.sign(file)
    const atDave = await dave.receives(file)
    await dave.receives(alice.workspace.pin)
    await dave.follows(alice, 1)
    await dave.sign(atDave)
    const merged = await alice.merge(file, atDave)
    expect(merged.result.update).toBeNull()
    expect(merged.text.join('\n')).toMatch(/2\.root\.json: by .*; needs 1 more of /)
  })

  test('a key that is revoked without another in its place must leave enough', async () => {
    await firstVersion()
    const { roles } = (await statusCommand(alice.directory, clock)).result
    const hsm = roles.find(({ role }) => role === 'hsm')?.keys[0] ?? ''
    const options = { directory: alice.directory, expires, clock, id: hsm, replacement: null }
    expect(await codeOf(() => revokeCommand(options))).toBe('SEAL_ROOT_INVALID')
    expect(await codeOf(() => revokeCommand({ ...options, id: '0'.repeat(12) }))).toBe('SEAL_KEY_NOT_HELD')
    expect(await codeOf(() => revokeCommand({ ...options, id: hsm.slice(0, 4) }))).toBe('SEAL_KEY_NOT_HELD')
  })

  test('a role whose key is replaced is signed anew by the new holder, as it is', async () => {
    await firstVersion()
    const { roles } = (await statusCommand(alice.directory, clock)).result
    const hsm = roles.find(({ role }) => role === 'hsm')?.keys[0] ?? ''
    const replacement = await dave.key()
    const { file } = (
      await revokeCommand({ directory: alice.directory, expires, clock, id: hsm, replacement })
    ).result
    await alice.sign(file)
    const atBob = await bob.receives(file)
    await bob.sign(atBob)
    await dave.receives(alice.workspace.pin)
    await dave.follows(alice, 1)
    const atDave = await dave.receives(file)
    expect((await alice.merge(file, atBob)).result.update).toBeNull()
    await dave.sign(atDave)
    expect((await alice.merge(file, atDave)).result.update).not.toBeNull()
    const { result } = await showCommand({ ...alice.workspace, clock })
    expect(result.roles.find(({ role }) => role === 'hsm')).toMatchObject({ version: 1, files: 1 })
    await bob.follows(alice, 2)
    expect(await versionOf(bob)).toBe(2)
  })

  test('split custody cannot be given up by a threshold of one', async () => {
    await firstVersion()
    const change = { ...none, thresholds: new Map([['root', 1]]) }
    const options = { directory: alice.directory, expires, clock, change }
    expect(await codeOf(() => rotateCommand(options))).toBe('SEAL_ROOT_INVALID')
  })
})

test('the status names what comes next, at each step', async () => {
  const next = async (holder: Holder) =>
    (await statusCommand(holder.directory, clock)).text.findLast(line => line.startsWith('next')) ?? ''
  expect(await next(alice)).toContain('seal init')
  await threeHolders()
  expect(await next(alice)).toContain('seal sign')
  const { file } = (await alice.propose()).result
  expect(await next(alice)).toContain('pass ')
  await alice.sign(file)
  const atBob = await bob.receives(file)
  await bob.sign(atBob)
  const atUser = await user.receives(file)
  await user.sign(atUser)
  await writeFile(file, await readFile(atBob))
  await alice.merge(file, atUser)
  expect(await next(alice)).toBe('')
})
