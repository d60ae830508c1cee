import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { type Envelope, parseEnvelope, verifyEnvelope } from '../sealing/envelope.ts'
import { SealError } from '../sealing/errors.ts'
import { type PublicKey, publicKey, shortId } from '../sealing/keys.ts'
import { ReportError } from './errors.ts'
import { type DrillReport, parseReport, reportBytesMax } from './report.ts'

/* The public half: a drill report as a file is a DSSE envelope of one signature, in the form of those of the sealed store. */

export const reportPayloadType = 'application/vnd.in-toto+json'
const what = 'the drill report'

export interface OpenedReport {
  readonly report: DrillReport
  /** SHA-256 of the file. */
  readonly digest: Digest
  /** SHA-256 of the signing key's SubjectPublicKeyInfo. */
  readonly keyId: Digest
}

/**
 * A report that the ledger of `key` has signed. The signature is over bytes, which are parsed afterwards. Throws
 * `REPORT_MALFORMED` or `REPORT_SIGNATURE`.
 */
export function verifyReport(untrustedBytes: Uint8Array, key: VerifierKey): OpenedReport {
  if (key.type !== 'ed25519') throw unsigned(`${key.name} is a witness, and signs no reports`)
  const { signatures } = open(untrustedBytes)
  const expected = publicKey('ed25519', key.publicKey)
  const other = signatures.find(({ keyId }) => keyId !== expected.id)
  if (other !== undefined)
    throw unsigned(
      `it is signed by key ${shortId(other.keyId)}…, and the given one is ${shortId(expected.id)}…`,
    )
  const payload = verifiedPayload(untrustedBytes, expected)
  const report = parseReport(payload)
  if (report.ledger.origin !== key.name)
    throw unsigned(`it is of the ledger ${report.ledger.origin}, and the given key is of ${key.name}`)
  return { report, digest: sha256Hex(untrustedBytes), keyId: expected.id }
}

/** What a report says and whose it claims to be; the signature is not looked at. Throws `REPORT_MALFORMED`. */
export function readUnverified(untrustedBytes: Uint8Array): OpenedReport {
  const { payload, signatures } = open(untrustedBytes)
  const [signature] = signatures
  if (signature === undefined || signatures.length > 1) throw malformed('not one signature')
  return { report: parseReport(payload), digest: sha256Hex(untrustedBytes), keyId: signature.keyId }
}

function open(untrustedBytes: Uint8Array): Envelope {
  if (untrustedBytes.byteLength > reportBytesMax)
    throw malformed(`${untrustedBytes.byteLength} bytes; at most ${reportBytesMax} are read`)
  const envelope = parsedEnvelope(untrustedBytes)
  if (envelope.payloadType !== reportPayloadType)
    throw malformed(`its payload type is not ${reportPayloadType}`)
  return envelope
}

/* What an envelope of the sealed store would be accused of is this report's fault. */

function parsedEnvelope(untrustedBytes: Uint8Array): Envelope {
  try {
    return parseEnvelope(untrustedBytes, what)
  } catch (cause) {
    if (cause instanceof SealError) throw malformed('not an envelope in the one accepted form', cause)
    throw cause
  }
}

function verifiedPayload(untrustedBytes: Uint8Array, key: PublicKey): Uint8Array {
  try {
    return verifyEnvelope(untrustedBytes, {
      what,
      payloadType: reportPayloadType,
      keys: [key],
      threshold: 1,
    })
  } catch (cause) {
    if (cause instanceof SealError)
      throw unsigned('its signature does not fit its content, or it has none', cause)
    throw cause
  }
}

function malformed(message: string, cause?: unknown): ReportError {
  return new ReportError('REPORT_MALFORMED', `${what}: ${message}`, { cause })
}

function unsigned(message: string, cause?: unknown): ReportError {
  return new ReportError('REPORT_SIGNATURE', `${what}: ${message}`, { cause })
}
