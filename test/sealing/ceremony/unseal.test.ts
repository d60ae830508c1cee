import { cp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Untrusted } from '../../../src/base/untrusted.ts'
import { replaceStore } from '../../../src/sealing/ceremony/replace.ts'
import { rotateCommand } from '../../../src/sealing/ceremony/rotate.ts'
import { unsealCommand } from '../../../src/sealing/ceremony/unseal.ts'
import { FileSealedStore } from '../../../src/sealing/store.ts'
import { wholeFile } from '../../../src/sealing/workspace.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, expires, signal } from '../fixture.ts'
import { type Holder, people } from './holders.ts'

let all: Awaited<ReturnType<typeof people<'organisation' | 'owner' | 'machine'>>>
let organisation: Holder
let owner: Holder
let machine: Holder
let statement: string

/** A machine that the organisation sealed, and the owner's own root beside. */
beforeEach(async () => {
  all = await people('organisation', 'owner', 'machine')
  ;({ organisation, owner, machine } = all.holders)
  statement = all.directory.at('unseal.json')
})
afterEach(() => all.directory[Symbol.asyncDispose]())

async function sealed(withOwner = true): Promise<void> {
  for (const [holder, text] of [
    [organisation, '{"hsm":["theirs"]}\n'],
    [owner, '{"hsm":["mine"]}\n'],
  ] as const) {
    await holder.init({ custody: 'superadmin', withOwner })
    await holder.draft('roles.json', text)
    const { file } = (await holder.propose()).result
    await holder.sign(file)
    await holder.merge(file)
  }
  await machine.receives(organisation.workspace.pin)
  await machine.follows(organisation, 1)
}

const unseal = (holder: Holder) =>
  unsealCommand(
    {
      directory: holder.directory,
      clock,
      nextPin: owner.workspace.pin,
      file: statement,
      passphrase: () => Promise.reject(new Error('asked')),
      confirm: async () => true,
    },
    signal,
  )
const bytes = async (file: string) => new Untrusted(new Uint8Array(await readFile(file)))
const replace = async (update = wholeFile(owner.workspace)) =>
  replaceStore({
    directory: machine.directory,
    statement: await bytes(statement),
    update: await bytes(update),
    parseConfiguration: files => Buffer.from(files.get('roles.json') ?? []).toString(),
    clock,
  })
const trusted = async () => {
  const { store, pin, floor } = machine.workspace
  const options = { store, pin, floor, clock }
  const parseConfiguration = (files: ReadonlyMap<string, Uint8Array>) =>
    Buffer.from(files.get('roles.json') ?? []).toString()
  return (await FileSealedStore.open({ ...options, parseConfiguration })).current().value
}

test('the owner key takes a machine to another root, and what was there is kept', async () => {
  await sealed()
  await unseal(organisation)
  expect((await replace()).value).toBe('{"hsm":["mine"]}\n')
  expect(await trusted()).toBe('{"hsm":["mine"]}\n')
  expect(await readdir(all.directory.at('machine.unsealed'))).toContain('pin.json')
})

test('without an owner key there is no way out', async () => {
  await sealed(false)
  expect(await codeOf(() => unseal(organisation))).toBe('SEAL_UNSEAL_REFUSED')
})

test('without the owner key in hand there is no statement', async () => {
  await sealed()
  await rm(`${organisation.workspace.keys}/owner.pem`)
  expect(await codeOf(() => unseal(organisation))).toBe('SEAL_THRESHOLD')
})

test('the owner key of another root does not move this machine', async () => {
  await sealed()
  await unseal(owner)
  expect(await codeOf(() => replace())).toBe('SEAL_KEY_UNKNOWN')
  expect(await trusted()).toBe('{"hsm":["theirs"]}\n')
})

test('a statement that was changed does not move it', async () => {
  await sealed()
  await unseal(organisation)
  const text = await readFile(statement, 'latin1')
  const at = text.indexOf('"payload":"') + 80
  const changed = `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`
  const options = { directory: machine.directory, update: await bytes(wholeFile(owner.workspace)), clock }
  const untrusted = new Untrusted(new Uint8Array(Buffer.from(changed, 'latin1')))
  expect(
    await codeOf(() => replaceStore({ ...options, statement: untrusted, parseConfiguration: () => 0 })),
  ).toMatch(/^SEAL_(SIGNATURE_INVALID|ENVELOPE_MALFORMED)$/)
  expect(await trusted()).toBe('{"hsm":["theirs"]}\n')
})

test('a statement ends with the root that it was about', async () => {
  await sealed()
  await unseal(organisation)
  const change = { add: [], remove: [], thresholds: new Map<string, number>(), custody: null, expires }
  const { file } = (await rotateCommand({ directory: organisation.directory, expires, clock, change })).result
  await organisation.sign(file)
  await organisation.merge(file)
  await machine.follows(organisation, 2)
  expect(await codeOf(() => replace())).toBe('SEAL_UNSEAL_REFUSED')
  expect(await trusted()).toBe('{"hsm":["theirs"]}\n')
  await unseal(organisation)
  expect((await replace()).value).toBe('{"hsm":["mine"]}\n')
})

test('an update of a root that the owner did not name changes nothing', async () => {
  await sealed()
  await unseal(organisation)
  expect(await codeOf(() => replace(wholeFile(organisation.workspace)))).toBe('SEAL_ROOT_UNPINNED')
  expect(await trusted()).toBe('{"hsm":["theirs"]}\n')
})

test('a crash between the two renames is mended by the same command', async () => {
  await sealed()
  await unseal(organisation)
  await cp(machine.directory, all.directory.at('saved'), { recursive: true, verbatimSymlinks: true })
  await rename(machine.directory, `${machine.directory}.unsealed`)
  expect((await replace()).value).toBe('{"hsm":["mine"]}\n')
  expect(await trusted()).toBe('{"hsm":["mine"]}\n')
})
