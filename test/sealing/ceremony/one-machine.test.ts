import { lstat, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BaseError } from '../../../src/base/base-errors.ts'
import { utf8 } from '../../../src/base/bytes.ts'
import { Secret } from '../../../src/base/secret.ts'
import { Untrusted } from '../../../src/base/untrusted.ts'
import { initCommand } from '../../../src/sealing/ceremony/init.ts'
import { type SealSignOptions, signCommand } from '../../../src/sealing/ceremony/sign.ts'
import { showCommand, verifyCommand } from '../../../src/sealing/show.ts'
import { FileSealedStore } from '../../../src/sealing/store.ts'
import { sealWorkspace } from '../../../src/sealing/workspace.ts'
import { codeOf } from '../../support/code-of.ts'
import { clock, expires, seeded, signal, temporaryDirectory } from '../fixture.ts'

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let workspace: ReturnType<typeof sealWorkspace>
let sign: SealSignOptions

beforeEach(async () => {
  directory = await temporaryDirectory()
  workspace = sealWorkspace(directory.at('seal'))
  sign = {
    directory: directory.at('seal'),
    expires,
    renew: false,
    clock,
    passphrase: async () => Secret.take(utf8('passphrase')),
    validate: () => {},
    confirm: async () => true,
  }
})
afterEach(() => directory[Symbol.asyncDispose]())

const init = (changes: Partial<Parameters<typeof initCommand>[0]> = {}) =>
  initCommand(
    {
      directory: directory.at('seal'),
      custody: 'superadmin',
      expires,
      protection: null,
      entropy: seeded('init'),
      ...changes,
    },
    signal,
  )
const place = () => ({ store: workspace.store, pin: workspace.pin, floor: workspace.floor, clock })

async function draft(name: string, text: string): Promise<void> {
  const file = path.join(workspace.draft, name)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(file, text)
}

async function modesBelow(root: string): Promise<ReadonlyMap<string, string>> {
  const names = await readdir(root, { recursive: true })
  const modes = await Promise.all(
    ['', ...names].map(async name => {
      const found = await lstat(path.join(root, name))
      if (found.isSymbolicLink()) return []
      return [
        [name, `${found.isDirectory() ? 'directory' : 'file'} ${(found.mode & 0o777).toString(8)}`] as const,
      ]
    }),
  )
  return new Map(modes.flat())
}

test('a store is for its owner only, however lax the mask: its profiles name VMs', async () => {
  const before = process.umask(0)
  try {
    await sealTwice()
  } finally {
    process.umask(before)
  }
  const modes = await modesBelow(workspace.store)
  expect(modes.size).toBeGreaterThan(5)
  expect(new Set(modes.values())).toEqual(new Set(['directory 700', 'file 600']))
})

async function sealTwice(): Promise<void> {
  await init()
  await draft('profiles/work.conf', 'include:\n- work\n')
  await draft('roles.json', '{}\n')
  await signCommand(sign, signal)
  await draft('profiles/work.conf', 'include:\n- mail\n')
  await signCommand(sign, signal)
}

describe('init', () => {
  test('makes private keys, a root, a pin and a draft', async () => {
    const { result, text } = await init()
    expect(result.keyFiles.map(({ role }) => role)).toEqual([
      'root',
      'owner',
      'profiles',
      'policy',
      'hsm',
      'schedules',
      'machine',
    ])
    for (const { file } of result.keyFiles) expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(text[0]).toContain(result.rootDigest)
    expect(await readFile(workspace.pin, 'utf8')).toContain(result.rootDigest)
    expect((await readdir(workspace.draft)).sort()).toEqual([
      'README.md',
      'hsm',
      'policy',
      'profiles',
      'schedules',
    ])
    const readme = await readFile(path.join(workspace.draft, 'README.md'), 'utf8')
    expect(readme.match(/^- .*: sealed by/gm)).toEqual([
      '- profiles/: sealed by',
      '- policy/: sealed by',
      '- hsm/: sealed by',
      '- schedules/: sealed by',
      '- roles.json: sealed by',
    ])
    expect(await codeOf(() => verifyCommand(place()))).toBe('SEAL_EMPTY')
  })

  test('with split custody the root has three keys and needs two', async () => {
    const { result } = await init({ custody: 'split' })
    expect(result.keyFiles.filter(({ role }) => role === 'root')).toHaveLength(3)
  })

  test('a refused root leaves no key behind, so that the corrected command works', async () => {
    await init()
    const held = { directory: directory.at('other'), thresholds: new Map([['root', 2]]) }
    expect(await codeOf(() => init(held))).toBe('SEAL_ROOT_INVALID')
    expect(await readdir(directory.at('other/keys'))).toEqual([])
    await writeFile(directory.at('other/keys/owner.pem'), 'of somebody')
    expect(await codeOf(() => init({ directory: directory.at('other') }))).toBe('SEAL_EXISTS')
    expect(await readdir(directory.at('other/keys'))).toEqual(['owner.pem'])
    await rm(directory.at('other/keys/owner.pem'))
    await init({ directory: directory.at('other') })
  })

  test('a threshold of a role that there is not is no threshold: refused', async () => {
    expect(await codeOf(() => init({ thresholds: new Map([['profile', 2]]) }))).toBe('SEAL_ROOT_INVALID')
  })

  test('never a second time', async () => {
    await init()
    expect(await codeOf(() => init())).toBe('SEAL_EXISTS')
  })
})

describe('sign, show and verify', () => {
  test('one version after another', async () => {
    await sealTwice()
    const { result, text } = await showCommand(place())
    expect(result).toMatchObject({ version: 2, custody: 'superadmin', expired: false, rootVersion: 1 })
    expect(result.files).toEqual([
      { path: 'roles.json', bytes: 3 },
      { path: 'profiles/work.conf', bytes: 16 },
    ])
    expect(text.join('\n')).toContain('profiles: version 2, 1 files, 1 of 1 keys')
    expect((await verifyCommand(place())).text.at(-1)).toContain('verified')
  })

  test('shows the difference and signs only after a yes', async () => {
    await sealTwice()
    await draft('profiles/work.conf', 'include:\n- all\n')
    let shown: readonly string[] = []
    const confirm = async (difference: readonly string[]) => {
      shown = difference
      return false
    }
    expect(await codeOf(() => signCommand({ ...sign, confirm }, signal))).toBe('SEAL_DECLINED')
    expect(shown).toEqual([
      `version 3, expires ${expires.toISOString()}, signs roles/profiles.json, snapshot.json`,
      'changed profiles/work.conf',
      '  - - mail',
      '  + - all',
      `in all: role profiles version 3, expires ${expires.toISOString()}: 0 files added, 1 changed, 0 removed`,
    ])
    expect((await showCommand(place())).result.version).toBe(2)
  })

  test('asks nobody about a draft that does not parse', async () => {
    await init()
    const validate = () => {
      throw new BaseError('FIELD_INVALID', 'wrong')
    }
    const confirm = () => Promise.reject(new Error('asked'))
    expect(await codeOf(() => signCommand({ ...sign, validate, confirm }, signal))).toBe('FIELD_INVALID')
  })

  test('does not sign what is sealed already, unless to renew it', async () => {
    await sealTwice()
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_UNCHANGED')
    const later = new Date('2028-01-01T00:00:00Z')
    const { result } = await signCommand({ ...sign, renew: true, expires: later }, signal)
    expect(result.files).toHaveLength(6)
    // The root's own expiry is not the signer's to change.
    expect(result).toMatchObject({ version: 3, expires: expires.toISOString() })
  })

  test('its updates install and update another machine', async () => {
    await init()
    await draft('roles.json', '{}\n')
    const first = await signCommand(sign, signal)
    const options = {
      store: directory.at('machine'),
      pin: workspace.pin,
      floor: directory.at('machine-floor.json'),
      parseConfiguration: (files: ReadonlyMap<string, Uint8Array>) => files.size,
      clock,
    }
    const update = async (file: string) => new Untrusted(new Uint8Array(await readFile(file)))
    const store = await FileSealedStore.install(options, await update(first.result.update))
    await draft('hsm/work.json', '{}\n')
    const second = await signCommand(sign, signal)
    expect(await store.admit(await update(second.result.update))).toMatchObject({
      value: 2,
      version: 2,
      digest: second.result.digest,
    })
  })

  test('with keys under a passphrase', async () => {
    using passphrase = Secret.take(utf8('passphrase'))
    await init({ protection: { passphrase, workFactor: 4 } })
    await draft('roles.json', '{}\n')
    expect((await signCommand(sign, signal)).result.version).toBe(1)
    await draft('roles.json', '{"v":1}\n')
    const wrong = async () => Secret.take(utf8('wrong'))
    expect(await codeOf(() => signCommand({ ...sign, passphrase: wrong }, signal))).toBe(
      'SEAL_KEY_PASSPHRASE_WRONG',
    )
  })

  test('without the keys of a role that changed', async () => {
    await sealTwice()
    await rm(path.join(workspace.keys, 'profiles.pem'))
    await draft('profiles/work.conf', 'include:\n- all\n')
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_SIGNERS_SHORT')
    expect((await showCommand(place())).result.version).toBe(2)
  })

  test('on a store that somebody put back', async () => {
    await init()
    await draft('roles.json', '{}\n')
    await signCommand(sign, signal)
    await writeFile(
      workspace.floor,
      (await readFile(workspace.floor, 'utf8')).replace('"version":1', '"version":2'),
    )
    await draft('roles.json', '{"v":1}\n')
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_ROLLBACK')
    expect(await codeOf(() => verifyCommand(place()))).toBe('SEAL_ROLLBACK')
  })
})

describe('a draft', () => {
  beforeEach(async () => {
    await init()
  })

  test('with a file that no role may hold', async () => {
    await draft('notes.txt', 'x')
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_PATH_REFUSED')
  })

  test('with a link', async () => {
    await symlink('/etc/passwd', path.join(workspace.draft, 'profiles/work.conf'))
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_DRAFT_INVALID')
  })

  test('with an odd name', async () => {
    await draft('profiles/work.conf~', 'x')
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_DRAFT_INVALID')
  })

  test('with a file that is too large', async () => {
    await draft('profiles/work.conf', 'x'.repeat(256 * 1024 + 1))
    expect(await codeOf(() => signCommand(sign, signal))).toBe('SEAL_DRAFT_INVALID')
  })

  test('is sealed without its README and without hidden files', async () => {
    await draft('.git/config', 'x')
    await draft('roles.json', '{}\n')
    await signCommand(sign, signal)
    expect((await showCommand(place())).result.files.map(file => file.path)).toEqual(['roles.json'])
  })
})
