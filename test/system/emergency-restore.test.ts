import { cp, mkdir, readdir, rename, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import Slip39 from 'slip39'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sameBytes, useForADay } from '../../scripts/quickstart/images.ts'
import { filteredCopy, runBlock } from './how-to.ts'
import { type Ended, runToEnd } from './strongroom.ts'
import { LocalSystem } from './system.ts'

/** The how-to as a person runs it: its own blocks, in a shell that stops at the first error. */

let system: LocalSystem
const snapshots: string[] = []

beforeAll(async () => {
  system = await LocalSystem.start({ images: { work: 64, personal: 48 }, fillMiB: 8 })
  for (const day of ['one', 'two']) {
    if (snapshots.length > 0) for (const guest of system.guests) await useForADay(system.image(guest), guest)
    await system.keepCopy(inHome('days', day))
    const job = await system.backup()
    snapshots.push(job.outcome?.snapshot ?? '')
  }
})
afterAll(() => system?.[Symbol.asyncDispose]())

describe('the emergency restore with stock restic and age', () => {
  test('the newest snapshot is checked and restored byte for byte', async () => {
    const restored = await emergency('two')
    expect(restored).toMatchObject({ code: 0 })
    expect(restored.stdout).toContain('no errors were found')
    expect(restored.stdout).toContain('work/private.img: OK')
    await expectDay('two')
  })

  test('so is an older one', async () => {
    const restored = await emergency('one', { SNAPSHOT: snapshots[0]?.slice(0, 12) ?? '' })
    expect(restored).toMatchObject({ code: 0 })
    await expectDay('one')
  })

  test('another recovery key opens nothing, and nothing is written', async () => {
    const wrong = inHome('wrong.key')
    const made = await runToEnd('age-keygen', ['-o', wrong])
    expect(made.code).toBe(0)
    const restored = await emergency('wrong', { RECOVERY_KEY: wrong })
    expect(restored.code).not.toBe(0)
    expect(await readdir(system.home.directory)).not.toContain('restored-wrong')
  })

  test('words, joined by another tool of their standard, are the recovery key', async () => {
    const shares = inHome('shares')
    await mkdir(shares, { mode: 0o700 })
    const whole = system.provisioned.recoveryKey
    const made = await system.command<{ shares: readonly string[]; recipient: string }>(
      ...['hsm', 'recovery-key', 'split', '--recovery-key', whole, '--shares', '5', '--threshold', '3'],
    )
    const secret = Slip39.recoverSecret(made.shares.slice(2), '')
    const [hex, key] = [path.join(shares, 'secret.hex'), path.join(shares, 'nightly.key')]
    await writeFile(hex, `${Buffer.from(secret).toString('hex')}\n`)
    const identity = await runBlock('sh identity', { SECRET: hex, RECOVERY_KEY: key })
    expect(identity).toMatchObject({ code: 0, stdout: `${made.recipient}\n` })
    expect((await stat(key)).mode & 0o777).toBe(0o600)
    expect(await emergency('words', { RECOVERY_KEY: key })).toMatchObject({ code: 0 })
    await expectDay('two', 'words')
  })

  test('a filtered copy leaves planted files behind, and restores', async () => {
    const hostile = inHome('hostile', path.basename(system.provisioned.repository))
    await cp(system.provisioned.repository, hostile, { recursive: true })
    const [index = ''] = await readdir(path.join(hostile, 'index'))
    await cp(path.join(hostile, 'index', index), path.join(hostile, 'snapshots', 'f'.repeat(64)))
    await writeFile(path.join(hostile, 'index', '0'.repeat(64)), 'junk')
    const raw = await emergency('hostile', { REPOSITORY: hostile })
    expect(raw.code).not.toBe(0)

    const copy = inHome('copy', path.basename(hostile))
    const filtered = await filteredCopy(system, hostile, copy)
    expect(filtered).toMatchObject({ code: 0, stdout: expect.stringMatching(/, 0 missing or changed/) })
    expect(await emergency('filtered', { REPOSITORY: copy })).toMatchObject({ code: 0 })
    await expectDay('two', 'filtered')
  })

  test('a filtered copy names a snapshot that storage has deleted', async () => {
    const hostile = inHome('deleted', path.basename(system.provisioned.repository))
    await cp(system.provisioned.repository, hostile, { recursive: true })
    const gone = `snapshots/${snapshots[1]}`
    await rename(path.join(hostile, gone), inHome('gone'))
    const filtered = await filteredCopy(system, hostile, inHome('copy-of-deleted', path.basename(hostile)))
    expect(filtered.code).toBe(1)
    expect(filtered.stdout).toContain(`missing: ${gone}`)
  })
})

function inHome(...names: readonly string[]): string {
  return path.join(system.home.directory, ...names)
}

async function emergency(name: string, variables: Record<string, string> = {}): Promise<Ended> {
  const { repository, envelope, recoveryKey } = system.provisioned
  return runBlock('sh emergency', {
    ...{ REPOSITORY: repository, ENVELOPE: envelope, RECOVERY_KEY: recoveryKey },
    TARGET: inHome(`restored-${name}`),
    ...variables,
  })
}

async function expectDay(day: string, name = day): Promise<void> {
  for (const guest of system.guests) {
    const restored = inHome(`restored-${name}`, 'volumes', guest, 'private.img')
    expect(await sameBytes(inHome('days', day, `${guest}.img`), restored), `${guest} of day ${day}`).toBe(
      true,
    )
  }
}
