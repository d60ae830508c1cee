import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Digest, parseDigest } from '../../src/base/names.ts'
import type { Attestor } from '../../src/hsm/remote.ts'
import { type Dom0Tpm, ledgerClaim, openDom0Tpm } from '../../src/main/dom0-tpm.ts'
import { machineCommand } from '../../src/main/machine-command.ts'
import type { Attested } from '../../src/qrexec/calls/attest.ts'
import { type SoftwareTpm, softwareTpm } from '../tpm/swtpm.ts'
import { codeOf, never, textOf } from './support.ts'
import { World } from './world.ts'

/* A release to a dom0 that must prove which sealed store it uses: real token, real (software) TPM. */

const digestOf = (letter: string): Digest => parseDigest(letter.repeat(64))
/** As the HSM VM has it. */
const sealed = { version: 1, digest: digestOf('c') }

let world: World
let tpm: SoftwareTpm
let running: Dom0Tpm | null = null
beforeEach(async () => {
  world = await World.start()
  world.binding = { ...world.binding, attestation: 'tpm', releasesPerDay: null }
  tpm = await softwareTpm()
})
afterEach(async () => {
  await running?.[Symbol.asyncDispose]()
  running = null
  await world.stop()
  await tpm[Symbol.asyncDispose]()
})

/** dom0 with a disk of its own, at a TPM, which serves one connection at a time: the process before has ended. */
async function machine(name = 'dom0', device = tpm): Promise<Dom0Tpm> {
  await running?.[Symbol.asyncDispose]()
  await device.tpm.close()
  const home = path.join(world.directory, name)
  mkdirSync(path.join(home, 'sealed'), { recursive: true })
  mkdirSync(path.join(home, 'run'), { recursive: true })
  running = openDom0Tpm(home, { device: device.socket, measurements: path.join(home, 'run') }, never)
  return running
}

const boot = (one: Dom0Tpm, store = sealed): Promise<Attestor> =>
  one.measured(store, () => ledgerClaim(world.ledger.head), never)

/** dom0 as it was set up: anchored, and in the sealed state. */
async function honest(): Promise<Dom0Tpm> {
  const one = await machine()
  await one.anchor(sealed.version)
  world.attestor = await boot(one)
  return one
}

async function release(): Promise<string> {
  const { request, entry } = await world.request()
  using passphrase = await world.remote().release(request, entry, never)
  return textOf(passphrase)
}

async function refusal(): Promise<string> {
  try {
    await release()
    return 'released'
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'HSM_REFUSED_ATTESTATION')
      return error.message
    throw error
  }
}

/** What dom0 answers, changed on its way. */
function changing(change: (attested: Attested) => Attested): void {
  const { attestor } = world
  world.attestor = {
    answer: async (question, signal) => change((await attestor?.answer(question, signal)) as Attested),
  }
}

describe('the first time', () => {
  it('the machine proves that its keys are in one TPM, and is known from then on', async () => {
    await honest()
    const passphrase = await release()
    expect(passphrase).toHaveLength(43)
    expect(await release()).toBe(passphrase)
    const known = readFileSync(path.join(world.directory, 'hsm/machine.json'), 'utf8')
    expect(known).toContain('"tpm":"software"')
    await world.startHsm()
    expect(await release()).toBe(passphrase)
  })

  it('a machine that cannot answer the challenge is not', async () => {
    await honest()
    changing(attested => ({ ...attested, activated: attested.activated && new Uint8Array(32) }))
    expect(await codeOf(release)).toBe('SEAL_ENROLMENT_WRONG')
    expect(() => readFileSync(path.join(world.directory, 'hsm/machine.json'))).toThrow('ENOENT')
  })

  it('one in no good state is not the one to know', async () => {
    const one = await machine()
    await one.anchor(sealed.version)
    world.attestor = await boot(one, { version: 1, digest: digestOf('d') })
    expect(await refusal()).toContain('ATTEST_STORE_TAMPERED')
    expect(() => readFileSync(path.join(world.directory, 'hsm/machine.json'))).toThrow('ENOENT')
  })
})

it('after its TPM was exchanged, the machine is known anew once a person has removed the old one', async () => {
  await honest()
  // Counts one start more than the new one will.
  await tpm.kill()
  rmSync(path.join(world.directory, 'dom0/run/measurements.json'))
  await tpm.start()
  world.attestor = await boot(await machine())
  expect(await refusal()).toBe('released')
  await using exchanged = await softwareTpm()
  const one = await machine('dom0', exchanged)
  rmSync(path.join(world.directory, 'dom0/run/measurements.json'))
  await one.anchor(sealed.version)
  world.attestor = await boot(one)
  expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
  rmSync(path.join(world.directory, 'hsm/machine.json'))
  await world.startHsm()
  expect(await refusal()).toBe('released')
})

it('a machine that lets another one answer the first time is found out when it answers itself', async () => {
  await using other = await softwareTpm()
  const one = await machine('other', other)
  await one.anchor(sealed.version)
  world.attestor = await boot(one)
  expect(await refusal()).toBe('released')
  await honest()
  expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
})

it.each([
  ['endorsement', 'endorsementKey'],
  ['attestation', 'attestationKey'],
] as const)('the %s key of another TPM is not taken for its own', async (_, part) => {
  await honest()
  const mine = await world.attestor?.answer({ nonce: digestOf('1'), credential: null }, never)
  await using other = await softwareTpm()
  const one = await machine('other', other)
  await one.anchor(sealed.version)
  world.attestor = await boot(one)
  changing(attested => ({ ...attested, [part]: mine?.[part] ?? attested[part] }))
  expect(await codeOf(release)).toBe('TPM_CREDENTIAL_WRONG')
  expect(() => readFileSync(path.join(world.directory, 'hsm/machine.json'))).toThrow('ENOENT')
})

describe('is refused, with the reason, to a dom0', () => {
  beforeEach(async () => {
    await honest()
    await release()
  })

  it('with a tampered store', async () => {
    world.attestor = await boot(await machine(), { version: 1, digest: digestOf('d') })
    expect(await refusal()).toMatch(/ATTEST_STORE_TAMPERED: .* known here|ATTEST_STORE_TAMPERED/)
  })

  it('that used a tampered store since it was started, whatever it uses now', async () => {
    await boot(await machine(), { version: 1, digest: digestOf('d') })
    world.attestor = await boot(await machine())
    expect(await refusal()).toContain('ATTEST_LOG_FOREIGN')
    // After a restart of the machine nothing of it is left.
    await tpm.kill()
    rmSync(path.join(world.directory, 'dom0/run/measurements.json'))
    await tpm.start()
    world.attestor = await boot(await machine())
    expect(await refusal()).toBe('released')
  })

  it('with an old store', async () => {
    world.configurationDigest = digestOf('e')
    world.configurationVersion = 2
    const { request, entry } = await world.request({ configuration: digestOf('e') })
    const asked = world.remote().release(request, entry, never)
    await expect(asked).rejects.toMatchObject({
      code: 'HSM_REFUSED_ATTESTATION',
      message: expect.stringContaining('ATTEST_STORE_OLD'),
    })
  })

  it('that answers with what it answered before', async () => {
    let first: Attested | null = null
    changing(attested => {
      first ??= attested
      return first
    })
    expect(await refusal()).toBe('released')
    expect(await refusal()).toContain('ATTEST_REPLAYED')
  })

  it('that lets another machine answer', async () => {
    await using other = await softwareTpm()
    const one = await machine('other', other)
    await one.anchor(sealed.version)
    world.attestor = await boot(one)
    expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
  })

  it('whose TPM knows a newer store: an old disk', async () => {
    const one = await machine()
    await one.counter.counter.increment(never)
    world.attestor = await boot(one)
    expect(await refusal()).toContain('ATTEST_STORE_BEHIND_COUNTER')
  })

  it('that counts from another base than the one that is known', async () => {
    const one = await machine()
    await one.counter.counter.increment(never)
    await one.anchor(sealed.version)
    world.attestor = await boot(one)
    expect(await refusal()).toContain('ATTEST_STORE_BEHIND_COUNTER')
  })

  it('without a TPM', async () => {
    world.attestor = null
    expect(await refusal()).toContain('has no TPM')
  })

  it('that says nothing but the same words', async () => {
    changing(attested => ({ ...attested, attestation: attested.attestation.slice(0, -10) }))
    expect(await codeOf(release)).toBe('SEAL_ATTESTATION_INVALID')
  })

  it('and each refusal is in the record', async () => {
    world.attestor = await boot(await machine(), { version: 1, digest: digestOf('d') })
    await refusal()
    const lines = readFileSync(world.recordFile, 'utf8').trimEnd().split('\n')
    expect(lines.at(-1)).toContain('"code":"HSM_REFUSED_ATTESTATION"')
    expect(lines.at(-1)).toContain('"outcome":"refused"')
    expect(lines.at(-1)).toContain('ATTEST_STORE_TAMPERED')
  })
})

it('`hsm machine --forget` makes the service that runs enrol the next machine', async () => {
  await honest()
  await release()
  await using other = await softwareTpm()
  const one = await machine('other', other)
  await one.anchor(sealed.version)
  world.attestor = await boot(one)
  expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
  const home = path.join(world.directory, 'hsm')
  const shown = await machineCommand(home, { forget: false, yes: false })
  expect(shown.text.join('\n')).toMatch(/^tpm {8}[0-9a-f]{64}, software.*counter {4}index 0x1805347/s)
  expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
  await machineCommand(home, { forget: true, yes: true })
  expect(await refusal()).toBe('released')
  expect((await machineCommand(home, { forget: false, yes: false })).text).not.toEqual(shown.text)
  world.attestor = await boot(await machine())
  expect(await refusal()).toContain('ATTEST_OTHER_MACHINE')
})

it('a binding that wants hardware is not content with software', async () => {
  world.binding = { ...world.binding, attestation: 'hardware' }
  await honest()
  expect(await refusal()).toContain('ATTEST_SOFTWARE_TPM')
})

it('a memory that cannot be understood is an alarm, not a beginning', async () => {
  await honest()
  await release()
  writeFileSync(path.join(world.directory, 'hsm/attested.json'), '{}')
  await expect(world.startHsm()).rejects.toMatchObject({ code: 'SEAL_MACHINE_INVALID' })
})
