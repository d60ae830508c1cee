import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromUtf8, toHex, utf8 } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import { encodeAttestation, parseAttestation } from '../../src/sealing/attestation.ts'
import type { MonotonicCounter } from '../../src/sealing/counter.ts'
import { standingOf } from '../../src/sealing/counter-standing.ts'
import { challengeMachine, enrol } from '../../src/sealing/enrolment.ts'
import { eventsMax } from '../../src/sealing/event-log.ts'
import { attestationFindings } from '../../src/sealing/findings.ts'
import {
  type EnrolledMachine,
  encodeMachine,
  parseMachine,
  pinMachine,
  readMachine,
} from '../../src/sealing/machine.ts'
import { openMeasurements } from '../../src/sealing/measuring.ts'
import { verifyAttestation } from '../../src/sealing/verify-attestation.ts'
import { activateCredential } from '../../src/tpm/device/activate.ts'
import { tpmCounter } from '../../src/tpm/device/counter.ts'
import { measuringDevice } from '../../src/tpm/device/measuring-device.ts'
import { extendPcr, readPcrs } from '../../src/tpm/device/pcrs.ts'
import type { MeasuringDevice } from '../../src/tpm/public/measuring-device.ts'
import { codeOf } from '../support/code-of.ts'
import {
  type SoftwareTpm,
  signal,
  softwareTpm,
  withAttestationKey,
  withEndorsementKey,
} from '../tpm/swtpm.ts'
import { type AttestationCase, attestationCases, digestOfText, enrolled, nonce } from './attestation-cases.ts'

let swtpm: SoftwareTpm
let other: SoftwareTpm
let cases: readonly AttestationCase[]
let directory: string
beforeAll(async () => {
  swtpm = await softwareTpm()
  other = await softwareTpm()
  cases = await attestationCases(swtpm, other)
  directory = mkdtempSync(path.join(tmpdir(), 'attestation-'))
})
afterAll(async () => {
  await swtpm[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

test('each case, from a real TPM: exactly its findings', () => {
  expect(cases.filter(({ isAccepted }) => isAccepted).length).toBeGreaterThan(6)
  const results = cases.map(({ name, attestation, expected }) => {
    const travelled = parseAttestation(encodeAttestation(attestation))
    const { findings, isAccepted, time } = verifyAttestation(travelled, expected)
    expect(time !== null, name).toBe(isAccepted)
    return [name, isAccepted, [...new Set(findings.map(({ code }) => code))].sort()]
  })
  expect(results).toEqual(cases.map(({ name, isAccepted, findings }) => [name, isAccepted, findings]))
})

test('every finding has its case, and words for a person', () => {
  expect(new Set(cases.flatMap(({ findings }) => findings))).toEqual(
    new Set(Object.keys(attestationFindings)),
  )
  for (const { attestation, expected } of cases)
    for (const { words } of verifyAttestation(attestation, expected).findings) {
      expect(words).toMatch(/^[A-Z].*\. [A-Z0-9].*\.$/)
      expect(words).not.toMatch(/undefined|null|NaN/)
    }
})

describe('the form', () => {
  const bytes = () => encodeAttestation(firstCase().attestation)
  const firstCase = (): AttestationCase => cases[0] ?? expect.unreachable()

  test('every changed byte is refused, as a form or by the verifier', async () => {
    const { expected } = firstCase()
    const honest = bytes()
    for (let at = 0; at < honest.byteLength; at++) {
      const changed = honest.map((byte, index) => (index === at ? byte ^ 1 : byte))
      const code = await codeOf(() => {
        const attestation = parseAttestation(changed)
        const [event] = attestation.log
        const plain = { ...attestation, log: event ? [{ ...event, what: 'the store' }] : [] }
        // The words of an event are for people, and prove nothing.
        if (toHex(encodeAttestation(plain)) === toHex(honest)) return
        expect(verifyAttestation(attestation, expected).isAccepted, `byte ${at}`).toBe(false)
      })
      expect(code).toMatch(/^(ok|SEAL_ATTESTATION_INVALID)$/)
    }
  })

  test.each([
    ['a space', (text: string) => text.replace(',', ', ')],
    [
      'another order',
      (text: string) => text.replace('"v":1,"type":"attestation"', '"type":"attestation","v":1'),
    ],
    ['a field more', (text: string) => text.replace('{"v":1', '{"more":1,"v":1')],
    ['no line end', (text: string) => text.trimEnd()],
    ['too much', (text: string) => text.padEnd(70_000)],
    [
      'too many events',
      (text: string) =>
        text.replace(/"log":\[(.*?)\]/, (_, one) => `"log":[${Array(eventsMax + 1).fill(one)}]`),
    ],
  ])('%s is refused', async (_, change) => {
    expect(await codeOf(() => parseAttestation(bytes()))).toBe('ok')
    expect(await codeOf(() => parseAttestation(utf8(change(fromUtf8(bytes())))))).toBe(
      'SEAL_ATTESTATION_INVALID',
    )
  })
})

describe('measuring', () => {
  const [first, second] = [digestOfText('first'), digestOfText('second')]
  const settings = (name: string) => ({ storePcr: 11, platformPcrs: [], logFile: path.join(directory, name) })
  const claims = { nonce, store: { version: 1, digest: first }, ledger: null }
  const logOf = async (device: MeasuringDevice, name: string) => {
    const machine = await openMeasurements(device, settings(name), signal)
    return (await machine.attest(claims, signal)).log.map(({ digest }) => digest)
  }

  test('goes on after the process was started again, and measures nothing twice', async () => {
    await using fresh = await softwareTpm()
    const device = measuringDevice(fresh.tpm)
    const machine = await openMeasurements(device, settings('again'), signal)
    await machine.measure('one', first, signal)
    await machine.measure('one', first, signal)
    const value = await readPcrs(fresh.tpm, [11], signal)
    const again = await openMeasurements(device, settings('again'), signal)
    await again.measure('one', first, signal)
    expect(await readPcrs(fresh.tpm, [11], signal)).toEqual(value)
    await again.measure('two', second, signal)
    expect(await logOf(device, 'again')).toEqual([first, second])
  })

  test.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])('a TPM that fails (measured: %s) is made good, by the same process: %s', async (isMeasured, isSame) => {
    await using fresh = await softwareTpm()
    const device = measuringDevice(fresh.tpm)
    let isBroken = true
    const breaking: MeasuringDevice = {
      ...device,
      extend: async (...words) => {
        if (isMeasured || !isBroken) await device.extend(...words)
        if (isBroken) throw new Error('the cable')
      },
    }
    const name = `broken-${isMeasured}-${isSame}`
    const machine = await openMeasurements(breaking, settings(name), signal)
    await expect(machine.measure('one', first, signal)).rejects.toThrow('the cable')
    isBroken = false
    const next = isSame ? machine : await openMeasurements(device, settings(name), signal)
    await next.measure('two', second, signal)
    expect(await logOf(device, name)).toEqual([first, second])
  })

  test('what another program measured into the PCR is noticed', async () => {
    await using fresh = await softwareTpm()
    const device = measuringDevice(fresh.tpm)
    const machine = await openMeasurements(device, settings('foreign'), signal)
    await machine.measure('one', first, signal)
    await extendPcr(fresh.tpm, 11, new Uint8Array(32).fill(1), signal)
    expect(await codeOf(() => openMeasurements(device, settings('foreign'), signal))).toBe('SEAL_LOG_INVALID')
    expect(await codeOf(() => openMeasurements(device, settings('none'), signal))).toBe('SEAL_LOG_INVALID')
  })

  test('a log that is no log is an alarm; a full one ends', async () => {
    const device: MeasuringDevice = {
      ...measuringDevice(swtpm.tpm),
      read: async () => new Map(),
      extend: async () => {},
    }
    writeFileSync(path.join(directory, 'malformed'), '{"v":1}')
    expect(await codeOf(() => openMeasurements(device, settings('malformed'), signal))).toBe(
      'SEAL_LOG_INVALID',
    )
    const machine = await openMeasurements(device, settings('full'), signal)
    for (let at = 0; at < eventsMax; at++) await machine.measure('one', digestOfText(`${at}`), signal)
    expect(await codeOf(() => machine.measure('one', first, signal))).toBe('SEAL_LOG_FULL')
  })
})

describe('enrolment', () => {
  const agreed = {
    certificate: null,
    tpm: 'software',
    firmware: null,
    storePcr: 14,
    platform: [],
    counter: null,
  } as const

  /** The whole of it: `by` answers for the keys of `offered`. */
  const enrolAs = (by: SoftwareTpm, offered: SoftwareTpm): Promise<EnrolledMachine> =>
    withAttestationKey(offered.tpm, attestationKey =>
      withEndorsementKey(offered.tpm, 'p256', async endorsementKey => {
        const offer = { attestationKey: attestationKey.area, endorsementKey: endorsementKey.area }
        const { credential, expected } = challengeMachine(offer, systemEntropy)
        const answerWith = () =>
          activateCredential(by.tpm, attestationKey, endorsementKey, credential, null, signal)
        const answer = by === offered ? await answerWith() : Secret.take(systemEntropy.bytes(32))
        return enrol(offer, expected, answer, agreed)
      }),
    )

  test('the TPM answers, and its machine is pinned on first use', async () => {
    const file = path.join(directory, 'machine')
    expect(await readMachine(file)).toBeNull()
    const machine = await enrolAs(swtpm, swtpm)
    expect(machine).toEqual(await enrolled(swtpm))
    expect(await pinMachine(file, machine)).toBe('pinned')
    expect(await pinMachine(file, await enrolAs(swtpm, swtpm))).toBe('known')
    expect(encodeMachine((await readMachine(file)) ?? expect.unreachable())).toEqual(encodeMachine(machine))
  })

  test('whoever does not hold the keys is not enrolled', async () => {
    expect(await codeOf(() => enrolAs(other, swtpm))).toBe('SEAL_ENROLMENT_WRONG')
  })

  test('another TPM, another key and another agreement are changes, and the pin stays', async () => {
    const file = path.join(directory, 'changed')
    const machine = await enrolAs(swtpm, swtpm)
    await pinMachine(file, machine)
    const before = readFileSync(file)
    const stranger = await enrolAs(other, other)
    for (const changed of [
      stranger,
      { ...machine, attestationKey: stranger.attestationKey },
      { ...machine, endorsement: stranger.endorsement },
      { ...machine, storePcr: 12 },
      { ...machine, counter: { index: 0x01805347, base: 3 } },
    ])
      expect(await codeOf(() => pinMachine(file, changed))).toBe('SEAL_MACHINE_CHANGED')
    expect(readFileSync(file)).toEqual(before)
  })

  test.each([
    ['cut off', (text: string) => text.slice(0, -20)],
    ['a PCR that can be reset', (text: string) => text.replace('"storePcr":14', '"storePcr":16')],
    [
      'a key of another kind',
      (text: string) => text.replace(/"attestationKey":".{8}/, '"attestationKey":"AAgACwAF'),
    ],
    ['a field more', (text: string) => text.replace('{"v":1', '{"more":1,"v":1')],
  ])('a pin that is malformed: %s', async (_, change) => {
    const text = fromUtf8(encodeMachine(await enrolled(swtpm)))
    expect(await codeOf(() => parseMachine(utf8(text)))).toBe('ok')
    expect(await codeOf(() => parseMachine(utf8(change(text))))).toBe('SEAL_MACHINE_INVALID')
  })
})

test('a counter of the TPM is the counter that the store needs', async () => {
  await using fresh = await softwareTpm()
  const tpm = tpmCounter(fresh.tpm)
  const counter: MonotonicCounter = tpm
  const base = (await tpm.define(signal)) - 1
  const version = 1
  expect(standingOf(await counter.read(signal), { base }, version)).toBe('even')
  expect(standingOf(await counter.read(signal), { base }, version + 1)).toBe('unfinished')
  expect(standingOf(await counter.increment(signal), { base }, version + 1)).toBe('even')
  expect(standingOf(await counter.read(signal), { base }, version)).toBe('store-behind')
  expect(standingOf(await counter.read(signal), { base }, version + 3)).toBe('counter-behind')
})
