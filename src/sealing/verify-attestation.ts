import { equalConstantTime } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import type { TpmTime } from '../tpm/public/attest.ts'
import { verifyCounter } from '../tpm/public/counter.ts'
import { type QuoteItem, type QuoteVerdict, verifyQuote } from '../tpm/public/quote.ts'
import { type Attestation, qualifyingData, type StoreClaim } from './attestation.ts'
import { standingOf } from './counter-standing.ts'
import { pcrValuesOf, replay } from './event-log.ts'
import { type Finding, type FindingCode, finding } from './findings.ts'
import { type EnrolledMachine, keyDigest } from './machine.ts'

/* Whether a machine is in the sealed state. Pure: everything that must be remembered is given, and what is new is told. */

export interface AttestationExpectation {
  /** What was asked just now. */
  readonly nonce: Digest
  readonly machine: EnrolledMachine
  /** What is in force here. */
  readonly store: StoreClaim
  /** Versions of the stores that were in force before, by digest: may have been measured since the machine was started. */
  readonly earlier: ReadonlyMap<Digest, number>
  /** The newest that this machine has told; `null` the first time. */
  readonly since: TpmTime | null
  /** Entries that its ledger has at least. */
  readonly ledgerSize: number
  /** Whether a TPM that is not proven to be hardware is refused. */
  readonly isHardwareRequired: boolean
}

export interface AttestationVerdict {
  /** No finding refuses. */
  readonly isAccepted: boolean
  readonly findings: readonly Finding[]
  /** To be remembered as `since`; `null` unless accepted. */
  readonly time: TpmTime | null
}

export function verifyAttestation(
  attestation: Attestation,
  expected: AttestationExpectation,
): AttestationVerdict {
  const { machine } = expected
  const quote = verifyQuote(attestation.quote, {
    attestationKey: machine.attestationKey,
    nonce: qualifyingData(attestation),
    pcrs: pcrValuesOf(attestation.pcrs),
    ...(machine.firmware === null ? {} : { firmware: machine.firmware }),
    ...(expected.since === null ? {} : { since: expected.since }),
  })
  const origin = [...originFindings(attestation, expected), ...quoteFindings(quote, attestation, machine)]
  // Nothing in what the machine's TPM has not signed means anything.
  const content = quote.attest === null ? [] : contentFindings(attestation, expected)
  const findings = [...origin, ...content, ...kindFindings(expected)]
  const isAccepted = findings.every(({ severity }) => severity !== 'refused')
  return { isAccepted, findings, time: isAccepted ? (quote.attest?.time ?? null) : null }
}

function originFindings(
  { nonce, key }: Attestation,
  { nonce: asked, machine }: AttestationExpectation,
): readonly Finding[] {
  const known = keyDigest(machine.attestationKey)
  return [
    ...(nonce === asked ? [] : [finding('ATTEST_REPLAYED', 'It answers the question of another time.')]),
    ...(key === known
      ? []
      : [finding('ATTEST_OTHER_MACHINE', `Its key is ${short(key)}, the enrolled one ${short(known)}.`)]),
  ]
}

const codeOfItem: Readonly<Record<QuoteItem, FindingCode>> = {
  key: 'ATTEST_FORGED',
  signature: 'ATTEST_FORGED',
  form: 'ATTEST_FORGED',
  magic: 'ATTEST_FORGED',
  type: 'ATTEST_FORGED',
  nonce: 'ATTEST_REPLAYED',
  signer: 'ATTEST_OTHER_MACHINE',
  firmware: 'ATTEST_FIRMWARE_CHANGED',
  time: 'ATTEST_TPM_WENT_BACK',
  selection: 'ATTEST_PCRS_WRONG',
  measured: 'ATTEST_UNMEASURED',
  digest: 'ATTEST_PCRS_WRONG',
}

function quoteFindings(
  { checks }: QuoteVerdict,
  { key, pcrs }: Attestation,
  { attestationKey, storePcr, platform }: EnrolledMachine,
): readonly Finding[] {
  const failed = checks
    .filter(({ verdict }) => verdict === 'failed')
    // Another machine's signature is no second fault.
    .filter(({ item }) => item !== 'signature' || key === keyDigest(attestationKey))
    .map(({ item, words }) => finding(codeOfItem[item], sentence(words)))
  const agreed = [storePcr, ...platform.map(({ pcr }) => pcr)].sort((a, b) => a - b).join(', ')
  const claimed = pcrs.map(({ pcr }) => pcr).join(', ')
  if (claimed === agreed) return failed
  return [...failed, finding('ATTEST_PCRS_WRONG', `It is about PCR ${claimed}; agreed were ${agreed}.`)]
}

function contentFindings(attestation: Attestation, expected: AttestationExpectation): readonly Finding[] {
  return [
    ...logFindings(attestation, expected.machine),
    ...storeFindings(attestation, expected),
    ...platformFindings(attestation, expected.machine),
    ...counterFindings(attestation, expected.machine),
    ...ledgerFindings(attestation, expected.ledgerSize),
  ]
}

function logFindings({ log, pcrs }: Attestation, { storePcr }: EnrolledMachine): readonly Finding[] {
  const foreign = log.find(({ pcr }) => pcr !== storePcr)
  if (foreign !== undefined)
    return [finding('ATTEST_LOG_WRONG', `It names PCR ${foreign.pcr}, which was not agreed.`)]
  const replayed = replay(log).get(storePcr)
  const claimed = pcrValuesOf(pcrs).get(storePcr)
  if (replayed === undefined || claimed === undefined) return []
  return equalConstantTime(replayed, claimed)
    ? []
    : [finding('ATTEST_LOG_WRONG', `Replayed it gives another value of PCR ${storePcr}.`)]
}

function storeFindings(
  { log, store: claimed }: Attestation,
  { store, earlier }: AttestationExpectation,
): readonly Finding[] {
  const digests = log.map(({ digest }) => digest)
  const last = digests.at(-1)
  if (last === undefined) return [finding('ATTEST_UNMEASURED', 'Its log is empty.')]
  const versionOf = (digest: Digest) => (digest === store.digest ? store.version : earlier.get(digest))
  const before = beforeFindings(digests.slice(0, -1).map(versionOf), versionOf(last))
  if (claimed.digest !== last)
    return [
      ...before,
      finding('ATTEST_STORE_TAMPERED', `It says ${short(claimed.digest)} and measured ${short(last)}.`),
    ]
  if (last === store.digest)
    return claimed.version === store.version
      ? before
      : [
          ...before,
          finding('ATTEST_STORE_TAMPERED', `It says version ${claimed.version}; it is ${store.version}.`),
        ]
  return [...before, otherStore(claimed, store, earlier.get(last))]
}

function otherStore(claimed: StoreClaim, store: StoreClaim, version: number | undefined): Finding {
  if (version !== undefined)
    return finding('ATTEST_STORE_OLD', `It uses version ${version}; in force is ${store.version}.`)
  if (claimed.version > store.version)
    return finding(
      'ATTEST_STORE_NEWER',
      `It says version ${claimed.version}; known here is ${store.version}.`,
    )
  return finding(
    'ATTEST_STORE_TAMPERED',
    `It measured ${short(claimed.digest)}; in force is ${short(store.digest)}.`,
  )
}

/** Versions of the stores measured before the last one; `undefined` for what never was a store in force. */
function beforeFindings(
  versions: readonly (number | undefined)[],
  last: number | undefined,
): readonly Finding[] {
  const unknown = versions.filter(version => version === undefined).length
  if (unknown > 0)
    return [finding('ATTEST_LOG_FOREIGN', `${unknown} of ${versions.length + 1} measurements are unknown.`)]
  const all = [...versions, last].filter(version => version !== undefined)
  const back = all.find((version, at) => version < (all[at - 1] ?? version))
  return back === undefined
    ? []
    : [finding('ATTEST_LOG_FOREIGN', `Version ${back} was put in force after a newer one.`)]
}

function platformFindings({ pcrs }: Attestation, { platform }: EnrolledMachine): readonly Finding[] {
  const values = new Map(pcrs.map(({ pcr, value }) => [pcr, value]))
  const changed = platform.filter(({ pcr, value }) => values.has(pcr) && values.get(pcr) !== value)
  if (changed.length === 0) return []
  return [finding('ATTEST_PLATFORM_CHANGED', `PCR ${changed.map(({ pcr }) => pcr).join(', ')}.`)]
}

function counterFindings(attestation: Attestation, machine: EnrolledMachine): readonly Finding[] {
  const { counter: anchor, attestationKey } = machine
  if (anchor === null) return []
  if (attestation.counter === null) return [finding('ATTEST_COUNTER_WRONG', 'It told none.')]
  const expected = { attestationKey, nonce: qualifyingData(attestation), index: anchor.index }
  const { checks, value } = verifyCounter(attestation.counter, expected)
  if (value === null) {
    const words = checks.find(({ verdict }) => verdict === 'failed')?.words ?? ''
    return [finding('ATTEST_COUNTER_WRONG', sentence(words))]
  }
  const { version } = attestation.store
  const found = `The counter stands for version ${value - anchor.base}, the store is version ${version}.`
  switch (standingOf(value, anchor, version)) {
    case 'even':
      return []
    case 'unfinished':
      return [finding('ATTEST_COUNTER_UNFINISHED', found)]
    case 'store-behind':
      return [finding('ATTEST_STORE_BEHIND_COUNTER', found)]
    case 'counter-behind':
      return [finding('ATTEST_COUNTER_BEHIND', found)]
  }
}

function ledgerFindings({ ledger }: Attestation, size: number): readonly Finding[] {
  const told = ledger?.size ?? 0
  return told >= size ? [] : [finding('ATTEST_LEDGER_BEHIND', `It has ${told} entries, and had ${size}.`)]
}

function kindFindings({ machine, isHardwareRequired }: AttestationExpectation): readonly Finding[] {
  const severity = isHardwareRequired ? 'refused' : 'noted'
  if (machine.tpm === 'software')
    return [finding('ATTEST_SOFTWARE_TPM', 'It was enrolled as such.', severity)]
  if (machine.tpm === 'unproven')
    return [finding('ATTEST_HARDWARE_UNPROVEN', 'It was enrolled without.', severity)]
  return []
}

function sentence(words: string): string {
  return `${words[0]?.toUpperCase()}${words.slice(1)}.`
}

function short(digest: Digest): string {
  return digest.slice(0, 16)
}
