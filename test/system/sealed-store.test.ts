import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiFailure } from '../../scripts/quickstart/client.ts'
import { stopHost } from '../../scripts/quickstart/host.ts'
import { sealAndInstall, writeDraft } from '../../scripts/quickstart/provision.ts'
import { dom0 } from '../../src/base/names.ts'
import { LocalHome } from '../../src/main/local-home.ts'
import { type Ended, strongroom } from './strongroom.ts'
import { LocalSystem } from './system.ts'

/** The sealed store of dom0, changed by somebody who can write to its disk. */

const integrity = 4

let system: LocalSystem

beforeAll(async () => {
  system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1 })
})
afterAll(() => system?.[Symbol.asyncDispose]())

describe('while dom0 runs', () => {
  test('one changed byte refuses the next order, and the byte put back allows it', async () => {
    await system.backup()
    await withChangedByte(async () => {
      const refusal = await system.api.order({ profile: system.profile }).catch(error => error as unknown)
      expect(refusal).toBeInstanceOf(ApiFailure)
      expect((refusal as ApiFailure).problem).toMatchObject({
        code: expect.stringMatching(/^SEAL_/),
        kind: 'integrity',
      })
    })
    await system.backup()
  })

  test('a byte that nobody asked about is noticed at once, and told although it was put back', async () => {
    const alarms = async () => {
      const status = await system.api.request<{ alarms: { code: string; profile: string | null }[] }>(
        'GET',
        '/v1/status',
      )
      return status.alarms.filter(({ profile }) => profile === null).map(({ code }) => code)
    }
    await system.restartHost()
    const log = path.join(system.home.directory, 'log/dom0.log')
    const noticed = async () => (await readFile(log, 'utf8')).split('the sealed store does not verify').length
    const before = await noticed()
    expect(await alarms()).toEqual([])
    await withChangedByte(() => expect.poll(noticed, { timeout: 15_000 }).toBeGreaterThan(before))
    await expect.poll(alarms, { timeout: 30_000 }).toEqual([expect.stringMatching(/^SEAL_/)])
    expect((await system.backup()).state).toBe('done')
    await system.restartHost()
    expect(await alarms()).toEqual([])
  })
})

describe('when dom0 starts', () => {
  beforeAll(() => stopHost(system.home))

  test('one changed byte is a refusal with a reason', async () => {
    await withChangedByte(async () => {
      expectRefusal(await startDom0(), /SEAL_(SIGNATURE|MIXED|ENVELOPE)/)
      const host = await strongroom(['host', 'start', '--home', system.home.directory])
      expectRefusal(host, /SEAL_(SIGNATURE|MIXED|ENVELOPE)/)
    })
  })

  test('a store of other keys is refused, though every signature in it is right', async () => {
    const other = await otherSuperadmin()
    const { directory } = sealed()
    await expectInstallRefused(path.join(other.seal, 'updates/whole.update'))
    await rename(path.join(directory, 'store'), path.join(directory, 'aside'))
    await cp(path.join(other.seal, 'store'), path.join(directory, 'store'), {
      recursive: true,
      verbatimSymlinks: true,
    })
    expectRefusal(await startDom0(), /SEAL_ROOT_UNPINNED/)
    await rm(path.join(directory, 'store'), { recursive: true })
    await rename(path.join(directory, 'aside'), path.join(directory, 'store'))
  })

  test('an update is in force, and the version before it is a rollback', async () => {
    const { directory } = sealed()
    const store = path.join(directory, 'store')
    const old = path.join(directory, 'old')
    await cp(store, old, { recursive: true, verbatimSymlinks: true })
    const conf = path.join(system.home.seal, 'draft/profiles', `${system.profile}.conf`)
    await writeDraft(
      system.home,
      `profiles/${system.profile}.conf`,
      `${await readFile(conf, 'utf8')}# changed\n`,
    )
    await sealAndInstall(system.home)
    await system.restartHost()
    const { configuration } = await system.api.request<{ configuration: { version: number } }>(
      'GET',
      '/v1/profiles',
    )
    expect(configuration.version).toBe(2)
    expect((await system.backup()).state).toBe('done')
    await stopHost(system.home)

    await rm(store, { recursive: true })
    await rename(old, store)
    expectRefusal(await startDom0(), /SEAL_ROLLBACK/)
  })
})

function sealed(): { directory: string; role: string } {
  const directory = path.join(system.home.home(dom0), 'sealed')
  return { directory, role: path.join(directory, 'store/current/roles/profiles.json') }
}

/** One bit in the middle of the profiles' envelope. */
async function withChangedByte(use: () => Promise<void>): Promise<void> {
  const { role } = sealed()
  const right = await readFile(role)
  const wrong = Buffer.from(right)
  const middle = Math.floor(wrong.byteLength / 2)
  wrong[middle] = (wrong[middle] ?? 0) ^ 1
  await writeFile(role, wrong)
  try {
    await use()
  } finally {
    await writeFile(role, right)
  }
}

function startDom0(): Promise<Ended> {
  return strongroom(['dom0', '--settings', system.home.settings(dom0)])
}

function expectRefusal({ code, stderr }: Ended, reason: RegExp): void {
  expect(code).toBe(integrity)
  expect(stderr).toContain('refusing to run')
  expect(stderr).toMatch(reason)
}

/** Seals the same configuration with keys of its own. */
async function otherSuperadmin(): Promise<LocalHome> {
  const other = new LocalHome(path.join(system.home.directory, 'other'))
  await mkdir(other.directory)
  await system.command('seal', 'init', '--dir', other.seal, '--no-passphrase')
  await cp(path.join(system.home.seal, 'draft'), path.join(other.seal, 'draft'), { recursive: true })
  await system.command('seal', 'sign', '--dir', other.seal, '--yes')
  return other
}

async function expectInstallRefused(update: string): Promise<void> {
  const { directory } = sealed()
  const install = await strongroom(['seal', 'install', '--machine', directory, '--update', update, '--json'])
  expect(install.code).toBe(integrity)
  expect(JSON.parse(install.stderr)).toMatchObject({ type: 'error', code: expect.stringMatching(/^SEAL_/) })
}
