import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  type InitDiscardedOptions,
  initDiscardedCommand,
} from '../../../src/sealing/ceremony/init-discarded.ts'
import { statusCommand } from '../../../src/sealing/ceremony/status.ts'
import { verifyCommand } from '../../../src/sealing/show.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, seeded, signal } from '../fixture.ts'
import { type Holder, people } from './holders.ts'

let all: Awaited<ReturnType<typeof people<'admin' | 'user'>>>
let admin: Holder
let user: Holder
let draft: string
beforeEach(async () => {
  all = await people('admin', 'user')
  ;({ admin, user } = all.holders)
  draft = all.directory.at('draft')
  await mkdir(`${draft}/hsm`, { recursive: true })
  await writeFile(`${draft}/roles.json`, '{}\n')
  await writeFile(`${draft}/hsm/work.json`, '{"epoch":1}\n')
})
afterEach(() => all.directory[Symbol.asyncDispose]())

const init = (changes: Partial<InitDiscardedOptions> = {}) =>
  initDiscardedCommand(
    {
      directory: admin.directory,
      draft,
      clock,
      entropy: seeded('discarded from the beginning'),
      protection: null,
      holders: new Map(),
      thresholds: new Map(),
      withOwner: true,
      validate: () => {},
      ...changes,
    },
    signal,
  )

test('seals at once, and leaves no key but the owner’s', async () => {
  const { result } = await init()
  expect(result.update).not.toBeNull()
  // Of root, profiles, policy, hsm, schedules and machine.
  expect(result.discarded).toHaveLength(6)
  expect(await readdir(admin.workspace.keys)).toEqual(['owner.pem'])
  const verified = await verifyCommand({ ...admin.workspace, clock })
  expect(verified.result).toMatchObject({ version: 1, custody: 'discarded', rootVersion: 1 })
  expect(verified.result.files.map(({ path }) => path).sort()).toEqual(['hsm/work.json', 'roles.json'])
  await user.receives(admin.workspace.pin)
  await user.follows(admin, 1)
})

test('waits for who keeps a role, who goes on with it afterwards', async () => {
  const { result } = await init({ holders: new Map([['hsm', [await user.key()]]]) })
  expect(result.update).toBeNull()
  await user.sign(result.file)
  expect((await admin.merge(result.file)).result.update).not.toBeNull()
  await mkdir(`${admin.workspace.draft}/hsm`, { recursive: true })
  await admin.draft('roles.json', '{}\n')
  await admin.draft('hsm/work.json', '{"epoch":2}\n')
  const { file } = (await admin.propose()).result
  await user.follows(admin, 1)
  await user.sign(file)
  expect((await admin.merge(file)).result.update).not.toBeNull()
})

test('without an owner key no key is in any file', async () => {
  await init({ withOwner: false })
  expect(await readdir(admin.directory)).not.toContain('keys')
  expect((await statusCommand(admin.directory, clock)).result.owner).toBe(false)
})

test('is refused for a root that somebody holds, twice, and for a draft that does not parse', async () => {
  const holders = new Map([['root', [await user.key()]]])
  expect(await codeOf(() => init({ holders }))).toBe('SEAL_ROOT_INVALID')
  await writeFile(`${draft}/elsewhere.txt`, '')
  expect(await codeOf(() => init())).toBe('SEAL_PATH_REFUSED')
  await rm(`${draft}/elsewhere.txt`)
  // A key that was there before is nobody's to remove.
  await user.key('owner')
  const { keys } = user.workspace
  const before = await readFile(`${keys}/owner.pem`)
  expect(await codeOf(() => init({ directory: user.directory }))).toBe('SEAL_EXISTS')
  expect(await readFile(`${keys}/owner.pem`)).toEqual(before)
  const other = all.directory.at('other')
  await mkdir(other)
  await init({ draft: other })
  expect(await codeOf(() => init({ draft: other }))).toBe('SEAL_EXISTS')
})
