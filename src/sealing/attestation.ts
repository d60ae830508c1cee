import { equalConstantTime, fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { sha256 } from '../crypto/digest.ts'
import type { SignedAttest } from '../tpm/public/attest.ts'
import { parsingAs, SealError } from './errors.ts'
import { isEventList, isPcrList, type MeasuredEvent, type PcrClaim } from './event-log.ts'

/*
 * What a machine says of itself when it is asked: which store is in force, signed by its TPM together with the question. Only the
 * quote is proven; everything else is claimed, and either bound to the quote or compared with it.
 */

export const attestationBytesMax = 65_536
const statementTextMax = 4096

/** What is bound to the quote: the TPM signs the hash of all of it. */
export interface AttestationClaims {
  /** Of whoever asks, who must never use it twice: 32 random bytes in hex. */
  readonly nonce: Digest
  /** SHA-256 in the name of the attestation key. */
  readonly key: Digest
  readonly store: StoreClaim
  readonly ledger: LedgerClaim | null
}

export interface StoreClaim {
  readonly version: number
  /** Of the snapshot: names the whole configuration. */
  readonly digest: Digest
}

/** How far the ledger of this machine goes. */
export interface LedgerClaim {
  readonly size: number
  readonly root: Digest
}

export interface Attestation extends AttestationClaims {
  /** The quoted PCRs in ascending order. */
  readonly pcrs: readonly PcrClaim[]
  readonly log: readonly MeasuredEvent[]
  readonly quote: SignedAttest
  /** The counter's value, certified with the same key and the same nonce. */
  readonly counter: SignedAttest | null
}

const isStatement = (value: unknown): SignedAttest => {
  const bytes = is.name(fromBase64)
  const text = (one: unknown) => bytes(is.string(statementTextMax)(one))
  return fields('statement', { attest: text, signature: text })(value)
}

const shape = fields('attestation', {
  v: is.literal(1),
  type: is.literal('attestation'),
  nonce: is.name(parseDigest),
  key: is.name(parseDigest),
  store: fields('store', { version: is.integer(1), digest: is.name(parseDigest) }),
  ledger: is.nullable(fields('ledger', { size: is.integer(0), root: is.name(parseDigest) })),
  pcrs: isPcrList,
  log: isEventList,
  quote: isStatement,
  counter: is.nullable(isStatement),
})

/** Exactly the spelling of `encodeAttestation` is accepted. Throws `SEAL_ATTESTATION_INVALID`. */
export function parseAttestation(untrustedBytes: Uint8Array): Attestation {
  const attestation = parsingAs('SEAL_ATTESTATION_INVALID', 'the attestation', () =>
    shape(parseJson(untrustedBytes, { bytesMax: attestationBytesMax, depthMax: 4 })),
  )
  if (!equalConstantTime(encodeAttestation(attestation), untrustedBytes))
    throw new SealError('SEAL_ATTESTATION_INVALID', 'the attestation is not spelled as it must be')
  return attestation
}

export function encodeAttestation(attestation: Attestation): Uint8Array {
  const { nonce, key, store, ledger, pcrs, log, quote, counter } = attestation
  const text = JSON.stringify({
    v: 1,
    type: 'attestation',
    nonce,
    key,
    store: storeOf(store),
    ledger: ledgerOf(ledger),
    pcrs: pcrs.map(({ pcr, value }) => ({ pcr, value })),
    log: log.map(({ pcr, what, digest }) => ({ pcr, what, digest })),
    quote: encodeStatement(quote),
    counter: counter && encodeStatement(counter),
  })
  return utf8(`${text}\n`)
}

function encodeStatement({ attest, signature }: SignedAttest) {
  return { attest: toBase64(attest), signature: toBase64(signature) }
}

/** What the TPM is given as its nonce: changed claims are noticed as a wrong answer is. */
export function qualifyingData({ nonce, key, store, ledger }: AttestationClaims): Uint8Array {
  const claims = {
    v: 1,
    type: 'attestation claims',
    nonce,
    key,
    store: storeOf(store),
    ledger: ledgerOf(ledger),
  }
  return sha256(utf8(JSON.stringify(claims)))
}

function storeOf({ version, digest }: StoreClaim): StoreClaim {
  return { version, digest }
}

function ledgerOf(ledger: LedgerClaim | null): LedgerClaim | null {
  return ledger && { size: ledger.size, root: ledger.root }
}
