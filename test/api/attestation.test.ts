import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Catalogue } from '../../src/api/catalogue/catalogue.ts'
import { sqliteDialect } from '../../src/api/catalogue/sqlite.ts'
import { MachineWatch } from '../../src/api/machine-watch.ts'
import { LedgerWitness } from '../../src/api/witness.ts'
import { utf8 } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { type Digest, parseDigest } from '../../src/base/names.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import { leafHash } from '../../src/ledger/merkle.ts'
import { type Dom0Tpm, ledgerClaim, openDom0Tpm } from '../../src/main/dom0-tpm.ts'
import { machineCommand } from '../../src/main/machine-command.ts'
import type { Attested } from '../../src/qrexec/calls/attest.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { AttestationVerifier } from '../../src/sealing/verifier.ts'
import { discard, scratch } from '../support/scratch.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { type SoftwareTpm, softwareTpm } from '../tpm/swtpm.ts'
import { FakeDom0 } from './fake-dom0.ts'
import { authorized, MemoryLog, startApi } from './harness.ts'
import { entries, ledgerKey, newSigner, origin, pages } from './ledger-pages.ts'
import { treeHash } from './reference-tree.ts'

/* The management VM asks a dom0 with a real (software) TPM, by the ledger alone: it has no copy of the store. */

const never = new AbortController().signal
const digestOf = (letter: string): Digest => parseDigest(letter.repeat(64))
const first = { version: 1, digest: digestOf('c') }
const second = { version: 2, digest: digestOf('e') }
const time = new Date('2026-11-24T12:00:00Z')
const inForce = (store: typeof first) => encodeEntry({ type: 'configuration', time, ...store })

let directory: string
let tpm: SoftwareTpm
let running: Dom0Tpm | null = null
let dom0: FakeDom0
let clock: SteppedClock
let log: MemoryLog
let catalogue: Catalogue
let leaves: Uint8Array[]
let watch: MachineWatch
let isHardwareRequired: boolean

beforeEach(async () => {
  directory = scratch('attest')
  tpm = await softwareTpm()
  dom0 = new FakeDom0()
  clock = new SteppedClock(time.toISOString())
  log = new MemoryLog()
  catalogue = await Catalogue.open(() => sqliteDialect(':memory:'))
  leaves = []
  isHardwareRequired = false
  await record(encodeEntry({ type: 'genesis', time, origin }), inForce(first))
  startService()
})
afterEach(async () => {
  await running?.[Symbol.asyncDispose]()
  running = null
  await catalogue[Symbol.asyncDispose]()
  await tpm[Symbol.asyncDispose]()
  await discard(directory)
})

/** As after a restart of the management VM. */
function startService(): void {
  const witness = { name: 'management.example', signer: newSigner() }
  const ports = { clock, catalogue, dom0, log }
  watch = new MachineWatch({
    ...ports,
    witness: new LedgerWitness({ ...ports, ledgerKey, witness }),
    origin,
    openVerifier: () => AttestationVerifier.open({ directory, clock, entropy: systemEntropy, roots: [] }),
    isHardwareRequired,
  })
}

async function record(...added: readonly Uint8Array[]): Promise<void> {
  leaves = [...leaves, ...added]
  // Two at a time: a ledger is longer than a page.
  dom0.ledgerPage = await pages(leaves, { countMax: 2 })
}

const head = () => ledgerClaim({ size: leaves.length, root: treeHash(leaves.map(leafHash)) })

async function machine(name = 'dom0', device = tpm): Promise<Dom0Tpm> {
  await running?.[Symbol.asyncDispose]()
  await device.tpm.close()
  const home = path.join(directory, name)
  for (const one of ['sealed', 'run']) mkdirSync(path.join(home, one), { recursive: true })
  running = openDom0Tpm(home, { device: device.socket, measurements: path.join(home, 'run') }, never)
  return running
}

async function boot(one: Dom0Tpm, store = first): Promise<void> {
  dom0.attestor = await one.measured(store, head, never)
}

async function honest(): Promise<Dom0Tpm> {
  const one = await machine()
  await one.anchor(first.version)
  await boot(one)
  return one
}

/** The state, and the codes of what refuses. */
async function look(): Promise<string> {
  await clock.pass(60_000)
  const found = await watch.look(never)
  if (found === null) return 'null'
  const refusing = found.findings.filter(({ severity }) => severity === 'refused').map(({ code }) => code)
  return [found.state, ...refusing, ...(found.error === null ? [] : [found.error.code])].join(' ')
}

async function alarms(): Promise<readonly string[]> {
  await using api = await startApi({ dom0, catalogue, machine: watch })
  const { body, statusCode } = await api.app.inject({ url: '/v1/status', headers: authorized })
  expect(statusCode).toBe(200)
  return JSON.parse(body).alarms.map(({ code }: { code: string }) => code)
}

const machineFile = () => path.join(directory, 'machine.json')

describe('a machine in the sealed state', () => {
  test('is enrolled by the challenge, and known from then on, also after a restart', async () => {
    await honest()
    expect(await look()).toBe('accepted')
    expect(dom0.calls.filter(call => call === 'attest')).toHaveLength(2)
    expect(readFileSync(machineFile(), 'utf8')).toContain('"tpm":"software"')
    expect(await look()).toBe('accepted')
    startService()
    expect(await look()).toBe('accepted')
    expect(dom0.calls.filter(call => call === 'attest')).toHaveLength(4)
    expect(await alarms()).toEqual([])
  })

  test('stays so over an update of the store, with both in its log', async () => {
    const one = await honest()
    expect(await look()).toBe('accepted')
    await record(utf8('an entry of a version that is not known here'), inForce(second))
    await one.counter.counter.increment(never)
    await boot(await machine(), second)
    // One that starts now has no memory of the store before: the ledger has it.
    rmSync(path.join(directory, 'attested.json'))
    startService()
    expect(await look()).toBe('accepted')
    expect(watch.latest?.store).toEqual(second)
  })

  test('answers two that ask at once, the one that it is new to as well', async () => {
    await honest()
    await look()
    const challenged = path.join(directory, 'hsm')
    mkdirSync(challenged)
    const options = { directory: challenged, clock, entropy: systemEntropy, roots: [] }
    const others = await Promise.all(
      [1, 2, 3].map(async () => {
        const verifier = await AttestationVerifier.open(options)
        const expected = { store: first, ledgerSize: 0, isHardwareRequired: false }
        const answer = (await dom0.attest(verifier.ask(), never)).attested ?? expect.unreachable()
        const asked = await verifier.examine(answer, expected)
        const again = asked.kind === 'asked' ? asked.question : expect.unreachable()
        return (await dom0.attest(again, never)).attested?.activated?.byteLength
      }),
    )
    expect(others).toEqual([32, 32, 32])
  })

  test('GET tells what was found, POST asks now', async () => {
    await honest()
    await using api = await startApi({ dom0, machine: watch })
    const ask = async (method: 'GET' | 'POST') =>
      (await api.app.inject({ method, url: '/v1/attestation', headers: authorized })).json()
    expect(await ask('GET')).toEqual({ attestation: null })
    const asked = await ask('POST')
    expect(asked.attestation).toMatchObject({
      state: 'accepted',
      known: true,
      configuration: first,
      machine: { tpm: 'software' },
      findings: [{ code: 'ATTEST_SOFTWARE_TPM', severity: 'noted', hint: expect.stringContaining('trying') }],
      error: null,
    })
    expect(await ask('GET')).toEqual(asked)
    const status = await api.app.inject({ url: '/v1/status', headers: authorized })
    expect(status.json().machine).toEqual({ state: 'accepted', time: time.toISOString() })
  })
})

describe('is refused, and an alarm: a machine', () => {
  beforeEach(async () => {
    await honest()
    expect(await look()).toBe('accepted')
  })

  const refused = async (...codes: readonly string[]) => {
    expect(await look()).toBe(['refused', ...codes].join(' '))
    expect(await alarms()).toEqual(codes)
  }

  test('with a store that the ledger does not name', async () => {
    await boot(await machine(), { version: 1, digest: digestOf('d') })
    await refused('ATTEST_STORE_TAMPERED')
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
  })

  test('with an old store, whatever its ledger says of it by now', async () => {
    await record(inForce(second))
    await boot(await machine())
    await refused('ATTEST_STORE_OLD')
    await record(inForce(first))
    await refused('ATTEST_STORE_OLD')
  })

  test('with a ledger that is shorter than what was witnessed', async () => {
    await record(...[1, 2, 3].map(one => utf8(`${one}`)))
    expect(await look()).toBe('accepted')
    leaves = leaves.slice(0, 2)
    dom0.ledgerPage = await pages(leaves, { countMax: 2 })
    expect(await look()).toBe('refused ATTEST_LEDGER_BEHIND')
    expect(await alarms()).toContain('ATTEST_LEDGER_BEHIND')
  })

  test('of which another one answers', async () => {
    await using other = await softwareTpm()
    const one = await machine('other', other)
    await one.anchor(first.version)
    await boot(one)
    await refused('ATTEST_OTHER_MACHINE')
  })

  test('whose TPM has counted further: an old disk', async () => {
    const one = await machine()
    await one.counter.counter.increment(never)
    await boot(one)
    await refused('ATTEST_STORE_BEHIND_COUNTER')
  })

  test('that says what it said before', async () => {
    const honestly = dom0.attestor
    let before: Attested | null = null
    dom0.attestor = {
      answer: async (question, signal) => {
        before ??= (await honestly?.answer(question, signal)) as Attested
        return before
      },
    }
    expect(await look()).toBe('accepted')
    await refused('ATTEST_REPLAYED')
  })

  test('that has no TPM any more', async () => {
    dom0.attestor = null
    await refused('MACHINE_WITHOUT_TPM')
  })

  test('that answers with something else', async () => {
    const honestly = dom0.attestor
    dom0.attestor = {
      answer: async (question, signal) => {
        const attested = (await honestly?.answer(question, signal)) as Attested
        return { ...attested, attestation: attested.attestation.slice(0, -9) }
      },
    }
    await refused('SEAL_ATTESTATION_INVALID')
  })

  test('whose ledger is not the one that was witnessed', async () => {
    const honestPage = dom0.ledgerPage
    dom0.ledgerPage = from => ({ ...honestPage(from), entries: entries(2, 'planted').slice(from) })
    startService()
    await refused('LEDGER_DAMAGED')
    dom0.ledgerPage = honestPage
    expect(await look()).toBe('accepted')
  })

  test('which the file that knows it does not show', async () => {
    writeFileSync(machineFile(), '{}')
    startService()
    await refused('SEAL_MACHINE_INVALID')
  })

  test('that is software, where hardware is required', async () => {
    isHardwareRequired = true
    startService()
    await refused('ATTEST_SOFTWARE_TPM')
  })
})

describe('without an answer', () => {
  const fail = () => {
    dom0.attestor = { answer: () => Promise.reject(new QrexecError('QREXEC_TIMEOUT', 'no answer')) }
  }

  test('a machine that attested before is an alarm, if dom0 answers everything else', async () => {
    await honest()
    await look()
    fail()
    expect(await look()).toBe('unanswered QREXEC_TIMEOUT')
    expect(await alarms()).toEqual(['QREXEC_TIMEOUT'])
    dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is away')
    expect(await look()).toBe('unanswered QREXEC_UNREACHABLE')
    expect(await alarms()).toEqual([])
  })

  test('one that never attested is none, and who asks is told why', async () => {
    fail()
    await expect(watch.look(never)).rejects.toMatchObject({ code: 'QREXEC_TIMEOUT' })
    expect([watch.latest, await alarms()]).toEqual([null, []])
  })

  test('there is nothing to tell of a dom0 that never had a TPM', async () => {
    expect(await look()).toBe('null')
    expect(await alarms()).toEqual([])
  })
})

describe('management machine --forget', () => {
  const forget = (answer: boolean | null) => {
    const shown: string[] = []
    const done = machineCommand(
      directory,
      { forget: true, yes: answer === null },
      async () => answer ?? expect.unreachable(),
      text => void shown.push(text),
    )
    return { done, shown }
  }

  test('the service that runs enrols the next one', async () => {
    await honest()
    await look()
    const [before] = (await machineCommand(directory, { forget: false, yes: false })).text
    await using other = await softwareTpm()
    const one = await machine('other', other)
    await one.anchor(first.version)
    await boot(one)
    expect(await look()).toBe('refused ATTEST_OTHER_MACHINE')
    await forget(null).done
    expect(existsSync(machineFile())).toBe(false)
    expect(await look()).toBe('accepted')
    expect((await machineCommand(directory, { forget: false, yes: false })).text[0]).not.toBe(before)
    await boot(await machine())
    expect(await look()).toBe('refused ATTEST_OTHER_MACHINE')
  })

  test('what its TPM told counts no more for the one that takes its place', async () => {
    await honest()
    expect(await look()).toBe('accepted')
    const file = path.join(directory, 'attested.json')
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace(/"resetCount":\d+/, '"resetCount":1000'))
    startService()
    expect(await look()).toBe('refused ATTEST_TPM_WENT_BACK')
    await forget(null).done
    expect(await look()).toBe('accepted')
  })

  test('a TPM that was cleared', async () => {
    const one = await honest()
    expect(await look()).toBe('accepted')
    await one[Symbol.asyncDispose]()
    await tpm.tool('tpm2_clear', '-c', 'p')
    rmSync(path.join(directory, 'dom0/run/measurements.json'))
    await tpm.kill()
    await tpm.start()
    const cleared = await machine()
    await cleared.anchor(first.version)
    await boot(cleared)
    expect(await look()).toMatch(/^refused .*ATTEST_STORE_BEHIND_COUNTER/)
    await forget(null).done
    expect(await look()).toBe('accepted')
  })

  test('asks, and tells attack from maintenance', async () => {
    await honest()
    await look()
    const { done, shown } = forget(false)
    await expect(done).rejects.toMatchObject({ code: 'SEAL_DECLINED' })
    expect(shown.join('')).toMatch(/maintenance if .* the main board .* dom0 anchor.* it is an attack/s)
    expect(existsSync(machineFile())).toBe(true)
    await forget(true).done
    expect(existsSync(machineFile())).toBe(false)
  })

  test('also of a file that cannot be understood; with nothing there it says so', async () => {
    writeFileSync(machineFile(), '{}')
    await expect(machineCommand(directory, { forget: false, yes: false })).rejects.toMatchObject({
      code: 'SEAL_MACHINE_INVALID',
    })
    expect((await forget(null).done).text.join()).toContain('forgotten')
    expect((await forget(null).done).result).toEqual({ machine: null, forgotten: false })
  })
})
