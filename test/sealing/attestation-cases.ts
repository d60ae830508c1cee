import path from 'node:path'
import { utf8 } from '../../src/base/bytes.ts'
import { parseDigest } from '../../src/base/names.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import {
  type Attestation,
  type AttestationClaims,
  qualifyingData,
  type StoreClaim,
} from '../../src/sealing/attestation.ts'
import { pcrClaimsOf } from '../../src/sealing/event-log.ts'
import type { FindingCode } from '../../src/sealing/findings.ts'
import { type EnrolledMachine, keyDigest } from '../../src/sealing/machine.ts'
import { openMeasurements } from '../../src/sealing/measuring.ts'
import type { AttestationExpectation } from '../../src/sealing/verify-attestation.ts'
import { type TpmCounter, tpmCounter } from '../../src/tpm/device/counter.ts'
import { measuringDevice } from '../../src/tpm/device/measuring-device.ts'
import { extendPcr } from '../../src/tpm/device/pcrs.ts'
import { parseAttest } from '../../src/tpm/public/attest.ts'
import { flipped } from '../tpm/expect.ts'
import { type SoftwareTpm, signal, withAttestationKey, withEndorsementKey } from '../tpm/swtpm.ts'

/* Attestations of a real software TPM: honest ones, then one fault each. The vectors are made of them. */

export interface AttestationCase {
  readonly name: string
  readonly comment: string
  /** Each once, in alphabetical order; what is only noted as well. */
  readonly findings: readonly FindingCode[]
  readonly isAccepted: boolean
  readonly attestation: Attestation
  readonly expected: AttestationExpectation
}

export const digestOfText = (text: string) => sha256Hex(utf8(text))
const storeOf = (version: number): StoreClaim => ({ version, digest: digestOfText(`store ${version}`) })
const foreign = digestOfText('a changed store')

export const nonce = digestOfText('nonce')
const otherNonce = digestOfText('another nonce')
const ledger = { size: 40, root: digestOfText('ledger') }
const present = storeOf(7)
const earlier = new Map([5, 6].map(version => [storeOf(version).digest, version]))
const platformPcr = 7
const platformDigest = new Uint8Array(32).fill(0x77)

interface History {
  /** What is measured since the start, in this order. */
  readonly measured?: readonly string[]
  readonly claims?: Partial<AttestationClaims>
  readonly counter?: TpmCounter
  readonly platform?: readonly number[]
  readonly storePcr?: number
}

/** Switches the machine off and on, measures, and asks it. */
async function attested(swtpm: SoftwareTpm, history: History = {}): Promise<Attestation> {
  const { measured = [present.digest], claims, counter, platform = [], storePcr = 14 } = history
  await swtpm.kill()
  await swtpm.start()
  for (const pcr of platform) await extendPcr(swtpm.tpm, pcr, platformDigest, signal)
  const logFile = path.join(swtpm.directory, `log-${process.hrtime.bigint()}`)
  const device = measuringDevice(swtpm.tpm, counter ?? null)
  const machine = await openMeasurements(device, { storePcr, platformPcrs: platform, logFile }, signal)
  for (const digest of measured) await machine.measure('the store', parseDigest(digest), signal)
  return machine.attest({ nonce, store: present, ledger, ...claims }, signal)
}

export async function enrolled(swtpm: SoftwareTpm): Promise<EnrolledMachine> {
  return withAttestationKey(swtpm.tpm, async ({ area }) => ({
    endorsement: await withEndorsementKey(swtpm.tpm, 'p256', async key => keyDigest(key.area)),
    attestationKey: area,
    certificate: null,
    tpm: 'software',
    firmware: null,
    storePcr: 14,
    platform: [],
    counter: null,
  }))
}

export async function attestationCases(
  swtpm: SoftwareTpm,
  other: SoftwareTpm,
): Promise<readonly AttestationCase[]> {
  const cases: AttestationCase[] = []
  const machine = await enrolled(swtpm)
  const expected: AttestationExpectation = {
    nonce,
    machine,
    store: present,
    earlier,
    since: null,
    ledgerSize: ledger.size,
    isHardwareRequired: false,
  }
  const noted: readonly FindingCode[] = ['ATTEST_SOFTWARE_TPM']

  const add = (
    name: string,
    comment: string,
    attestation: Attestation,
    refusals: readonly FindingCode[],
    changed: Partial<AttestationExpectation> = {},
    notes: readonly FindingCode[] = noted,
  ) =>
    cases.push({
      name,
      comment,
      findings: [...refusals, ...notes].sort(),
      isAccepted: refusals.length === 0,
      attestation,
      expected: { ...expected, ...changed },
    })

  const honest = await attested(swtpm)
  const { time, firmware } = parseAttest(honest.quote.attest)
  add('ok', 'the store in force, measured once', honest, [])
  add('ok-since', 'the same TPM as before, by its counting', honest, [], { since: time })
  const updated = await attested(swtpm, { measured: [5, 6, 7].map(version => storeOf(version).digest) })
  add('ok-updated', 'two updates since the machine was started', updated, [])
  add(
    'ok-hardware',
    'a TPM with a certificate',
    honest,
    [],
    { machine: { ...machine, tpm: 'hardware' }, isHardwareRequired: true },
    [],
  )
  add(
    'ok-firmware',
    'other firmware of the TPM is noted',
    honest,
    [],
    { machine: { ...machine, firmware: firmware + 1n } },
    [...noted, 'ATTEST_FIRMWARE_CHANGED'],
  )
  add(
    'unproven',
    'hardware is required, and no certificate was verified',
    honest,
    ['ATTEST_HARDWARE_UNPROVEN'],
    { machine: { ...machine, tpm: 'unproven' }, isHardwareRequired: true },
    [],
  )
  add(
    'software',
    'hardware is required, and the TPM is software',
    honest,
    ['ATTEST_SOFTWARE_TPM'],
    { isHardwareRequired: true },
    [],
  )

  // Whose answer, and to what.
  add('replayed', 'an old answer to a new question', honest, ['ATTEST_REPLAYED'], { nonce: otherNonce })
  add(
    'replayed-renamed',
    'an old quote under the new nonce',
    { ...honest, nonce: otherNonce },
    ['ATTEST_REPLAYED'],
    { nonce: otherNonce },
  )
  add(
    'claim-ledger',
    'a longer ledger was claimed than the TPM signed',
    { ...honest, ledger: { ...ledger, size: 41 } },
    ['ATTEST_REPLAYED'],
  )
  const stranger = await attested(other)
  add('other-machine', 'another machine answered', stranger, ['ATTEST_OTHER_MACHINE'])
  add(
    'other-machine-renamed',
    'another machine answered in the name of this one',
    { ...stranger, key: honest.key },
    ['ATTEST_FORGED'],
  )
  const { attest, signature } = honest.quote
  add(
    'forged-signature',
    'one bit of the signature',
    { ...honest, quote: { attest, signature: flipped(signature, 100) } },
    ['ATTEST_FORGED'],
  )
  add(
    'forged-quote',
    'one bit of the quote',
    { ...honest, quote: { attest: flipped(attest, 1000), signature } },
    ['ATTEST_FORGED'],
  )
  add(
    'forged-short',
    'the quote ends too early',
    { ...honest, quote: { attest: attest.subarray(0, -1), signature } },
    ['ATTEST_FORGED'],
  )

  // The store.
  const tampered = await attested(swtpm, {
    measured: [foreign],
    claims: { store: { version: 7, digest: foreign } },
  })
  add('store-tampered', 'a store that nobody knows', tampered, ['ATTEST_STORE_TAMPERED'])
  add('store-denied', 'measured one store, claims another', await attested(swtpm, { measured: [foreign] }), [
    'ATTEST_STORE_TAMPERED',
  ])
  add(
    'store-wrong-version',
    'the right store under another version',
    await attested(swtpm, { claims: { store: { ...present, version: 9 } } }),
    ['ATTEST_STORE_TAMPERED'],
  )
  const old = await attested(swtpm, { measured: [storeOf(6).digest], claims: { store: storeOf(6) } })
  add('store-old', 'the version before', old, ['ATTEST_STORE_OLD'])
  const newer = await attested(swtpm, { measured: [storeOf(8).digest], claims: { store: storeOf(8) } })
  add('store-newer', 'an update that has not arrived here', newer, ['ATTEST_STORE_NEWER'])
  const covered = await attested(swtpm, { measured: [foreign, present.digest] })
  add('log-foreign', 'a changed store was in use before the right one', covered, ['ATTEST_LOG_FOREIGN'])
  add('log-hidden', 'and the log does not tell it', { ...covered, log: covered.log.slice(1) }, [
    'ATTEST_LOG_WRONG',
  ])
  const hidden = { ...covered, log: covered.log.slice(1), pcrs: honest.pcrs }
  add('log-hidden-value', 'nor the value of the PCR', hidden, ['ATTEST_PCRS_WRONG'])
  const back = await attested(swtpm, {
    measured: [storeOf(6), storeOf(5), present].map(({ digest }) => digest),
  })
  add('log-back', 'an older store after a newer one', back, ['ATTEST_LOG_FOREIGN'])
  const renamed = { ...honest, log: honest.log.map(event => ({ ...event, pcr: 13 })) }
  add('log-other-pcr', 'the log is about another PCR', renamed, ['ATTEST_LOG_WRONG'])

  // The PCRs.
  const none = { measured: [] }
  add('unmeasured-zeros', 'nothing was measured', await attested(swtpm, none), ['ATTEST_UNMEASURED'])
  const ones = await attestedOnes(swtpm)
  add('unmeasured-ones', 'a PCR of a measured start that did not happen', ones, ['ATTEST_UNMEASURED'], {
    machine: { ...machine, storePcr: 20 },
  })
  const elsewhere = await attested(swtpm, { storePcr: 13 })
  add('pcr-other', 'another PCR than was agreed', elsewhere, ['ATTEST_LOG_WRONG', 'ATTEST_PCRS_WRONG'])
  const started = await attested(swtpm, { platform: [platformPcr] })
  const platform = started.pcrs.filter(({ pcr }) => pcr === platformPcr)
  add('ok-platform', 'firmware and boot loader as they were', started, [], {
    machine: { ...machine, platform },
  })
  const unlike = [{ pcr: platformPcr, value: foreign }]
  add('platform-changed', 'other firmware or boot loader', started, ['ATTEST_PLATFORM_CHANGED'], {
    machine: { ...machine, platform: unlike },
  })
  add(
    'platform-missing',
    'firmware and boot loader were agreed and are not quoted',
    honest,
    ['ATTEST_PCRS_WRONG'],
    { machine: { ...machine, platform } },
  )

  // What must not go back.
  const since = { ...time, resetCount: time.resetCount + 1000 }
  add('tpm-went-back', 'the TPM counts fewer starts than before', honest, ['ATTEST_TPM_WENT_BACK'], { since })
  add('ledger-behind', 'the ledger was longer before', honest, ['ATTEST_LEDGER_BEHIND'], { ledgerSize: 41 })
  add('ledger-missing', 'no ledger is told', await attested(swtpm, { claims: { ledger: null } }), [
    'ATTEST_LEDGER_BEHIND',
  ])

  const index = 0x01805347
  const counter = tpmCounter(swtpm.tpm, { index })
  const value = await counter.define(signal)
  const counted = await attested(swtpm, { counter })
  const anchored = (version: number) => ({
    machine: { ...machine, counter: { index, base: value - version } },
  })
  add('ok-counter', 'store and counter agree', counted, [], anchored(7))
  add('ok-counter-unfinished', 'a crash between store and counter', counted, [], anchored(6), [
    'ATTEST_COUNTER_UNFINISHED',
    ...noted,
  ])
  add(
    'counter-behind',
    'the store is two versions ahead of the counter',
    counted,
    ['ATTEST_COUNTER_BEHIND'],
    anchored(5),
  )
  add('counter-ahead', 'an old disk was put back', counted, ['ATTEST_STORE_BEHIND_COUNTER'], anchored(8))
  add(
    'counter-missing',
    'a counter was agreed and none is told',
    honest,
    ['ATTEST_COUNTER_WRONG'],
    anchored(7),
  )
  add(
    'counter-of-another-time',
    'a certificate from before',
    { ...counted, counter: (await attested(swtpm, { counter, claims: { nonce: otherNonce } })).counter },
    ['ATTEST_COUNTER_WRONG'],
    anchored(7),
  )
  add(
    'quote-is-counter',
    'the certificate of a counter in the place of the quote',
    { ...counted, quote: counted.counter ?? counted.quote },
    ['ATTEST_FORGED'],
  )
  add(
    'counter-is-quote',
    'the quote in the place of the certificate',
    { ...counted, counter: counted.quote },
    ['ATTEST_COUNTER_WRONG'],
    anchored(7),
  )
  await counter.remove(signal)
  return cases
}

/** PCR 20 holds all ones until a measured start. */
async function attestedOnes(swtpm: SoftwareTpm): Promise<Attestation> {
  await swtpm.kill()
  await swtpm.start()
  const device = measuringDevice(swtpm.tpm)
  const claims = { nonce, store: present, ledger, key: await device.key(signal) }
  const { quote, counter } = await device.state(qualifyingData(claims), [20], signal)
  return { ...claims, pcrs: pcrClaimsOf(await device.read([20], signal)), log: [], quote, counter }
}
