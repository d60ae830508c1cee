import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseVmName } from '../../src/base/names.ts'
import { newEpoch } from '../../src/hsm/commands.ts'
import { ask, restoreLine, scryptTyped, takenByQubesd } from './stock-tools.ts'
import { countingEntropy, never } from './support.ts'
import { profile, World } from './world.ts'

/* Stock qvm-backup and qvm-backup-restore: the passphrase that the one encrypts with is what the other is given. */

const backup = 'qubes.BackupPassphrase'
const restore = 'strongroom.RestorePassphrase'
const refusal = (code: string) => `strongroom: refused: ${code}\nno passphrase is released\n`
const howTo = readFileSync(path.join(import.meta.dirname, '../../docs/how-to/stock-qubes.md'), 'utf8')

let world: World
beforeEach(async () => {
  world = await World.start()
  world.binding = { ...world.binding, purposes: ['backup', 'restore'] }
})
afterEach(() => world.stop())

const records = () =>
  readFileSync(world.recordFile, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)

async function nextEpoch(): Promise<void> {
  const { epoch, envelope } = world.binding
  const ports = { envelopes: world.store.envelopes, token: world.token, entropy: countingEntropy(31) }
  const made = await newEpoch(ports, profile, [world.recovery.recipient.text], never)
  const earlier = [{ epoch, envelope }]
  world.binding = { ...world.binding, epoch: made.epoch, envelope: made.digest, earlier }
}

describe('an archive of stock Qubes', () => {
  it('is opened by what the counterpart gives, also after the key was changed', async () => {
    const at = (name: string) => path.join(world.directory, name)
    const header =
      'version=4\nencrypted=True\ncompressed=True\nhmac-algorithm=scrypt\nbackup-id=20261124T031500-1234\n'
    writeFileSync(at('backup-header'), header)
    const given = takenByQubesd(await ask(world, backup, profile)) ?? ''
    scryptTyped('enc', 'backup-header', given, [at('backup-header'), at('backup-header.hmac')])
    await nextEpoch()

    const wrong = await ask(world, restore, profile)
    expect(() =>
      scryptTyped('dec', 'backup-header', wrong, [at('backup-header.hmac'), at('wrong')]),
    ).toThrow()
    const again = await ask(world, restore, profile, '1\n')
    scryptTyped('dec', 'backup-header', again, [at('backup-header.hmac'), at('opened')])
    expect(readFileSync(at('opened'), 'utf8')).toBe(header)
    expect(records()).toMatchObject([
      { call: 'stock', outcome: 'allowed', purpose: 'backup', epoch: 1, job: null },
      { call: 'stock', outcome: 'allowed', purpose: 'restore', epoch: 2 },
      { call: 'stock', outcome: 'allowed', purpose: 'restore', epoch: 1 },
    ])
  })

  it('is restored by the line of the how-to, which tells a refusal from a passphrase', async () => {
    const line = /^ {3}\$ (qvm-backup-restore [\s\S]+?)\n {3}```/m.exec(howTo)?.[1] ?? 'false'
    const passphrase = await ask(world, restore, profile)
    expect(await restoreLine(line, world.directory, passphrase)).toEqual({
      code: 0,
      stdout: passphrase,
      stderr: '',
    })
    const refused = await restoreLine(line, world.directory, refusal('HSM_REFUSED_LIMIT'))
    expect(refused.stdout).toBe('')
    expect(refused.stderr).toContain('strongroom: refused: HSM_REFUSED_LIMIT')
    expect(readFileSync(path.join(world.directory, 'asked'), 'utf8')).toBe('')
  })
})

describe('the counterpart for restores', () => {
  it.each<[string, () => void, string, string]>([
    [
      'where the binding does not allow stock tools',
      () => {
        world.binding = { ...world.binding, stockPassphrase: false }
      },
      '',
      'HSM_REFUSED_PURPOSE',
    ],
    [
      'where restores are no purpose',
      () => {
        world.binding = { ...world.binding, purposes: ['backup'] }
      },
      '',
      'HSM_REFUSED_PURPOSE',
    ],
    [
      'beyond the limit',
      () => {
        world.binding = { ...world.binding, releasesPerDay: 0 }
      },
      '',
      'HSM_REFUSED_LIMIT',
    ],
    ['for an epoch that is not sealed', () => {}, '2\n', 'HSM_REFUSED_EPOCH'],
    ['for what is no epoch', () => {}, 'one\n', 'HSM_REFUSED_REQUEST'],
    [
      'to another VM, whatever it sends',
      () => {
        world.source = parseVmName('work')
      },
      'x',
      'HSM_REFUSED_CALLER',
    ],
  ])('refuses %s, and records it', async (_, spoil, input, code) => {
    spoil()
    const answer = await ask(world, restore, profile, input)
    expect(answer).toBe(refusal(code))
    expect(takenByQubesd(answer)).toBeNull()
    expect(records().at(-1)).toMatchObject({ outcome: 'refused', call: 'stock', code })
  })
})

describe('where a person must say yes', () => {
  beforeEach(() => {
    world.binding = { ...world.binding, approve: 'always' }
  })
  /** She acts when she has been waited for. */
  const person = (verdict: 'approved' | 'denied') => {
    world.sleep = async () => {
      const [waiting] = world.approvals.list()
      expect(waiting).toMatchObject({ call: 'stock', profile, epoch: 1, initiator: 'dom0' })
      world.approvals.decide(waiting?.code ?? '', verdict)
    }
  }

  it.each([backup, restore])('%s waits for it, and for the next one again', async service => {
    person('approved')
    for (const _ of [1, 2]) expect(await ask(world, service, profile)).toHaveLength(43)
    expect(world.approvals.list()).toEqual([])
  })

  it('her no is the end, and so is no answer', async () => {
    person('denied')
    expect(await ask(world, restore, profile)).toBe(refusal('HSM_REFUSED_DENIED'))
    world.sleep = async () => {
      world.now = new Date(world.now.getTime() + 11 * 60_000)
    }
    expect(await ask(world, restore, profile)).toBe(refusal('HSM_REFUSED_EXPIRED'))
    expect(records().map(({ code }) => code)).toEqual(['HSM_REFUSED_DENIED', 'HSM_REFUSED_EXPIRED'])
  })
})
