import { fromBase64, toBase64, utf8, view } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { ed25519SignatureLength, verifyEd25519 } from '../crypto/signature.ts'
import { LedgerError } from './errors.ts'
import { hashBytes } from './merkle.ts'
import {
  formatNote,
  isBy,
  type NoteSignature,
  parseNote,
  parseSignatureLine,
  type VerifierKey,
} from './note.ts'

/*
 * Checkpoints (https://c2sp.org/tlog-checkpoint@v1.0.0) and cosignatures (https://c2sp.org/tlog-cosignature@v1.0.0).
 * Public half: it reads and verifies. Signing is in `signing.ts`.
 */

export interface Checkpoint {
  /** The ledger's name, which is also the name of the key that signs it. */
  readonly origin: string
  /** Count of entries. */
  readonly size: number
  readonly root: Uint8Array
}

export interface SignedCheckpoint extends Checkpoint {
  readonly signatures: readonly NoteSignature[]
}

/** That a witness had, at `time`, seen no larger tree of this ledger, and none that contradicts this one. */
export interface Cosignature {
  readonly witness: VerifierKey
  readonly time: Date
  readonly signature: NoteSignature
}

const timestampBytes = 8
/** The last second that a `Date` can hold. */
const timestampMax = 8_640_000_000_000n

/** The three lines that are signed. */
export function checkpointBody({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${toBase64(root)}\n`
}

export function formatCheckpoint(checkpoint: SignedCheckpoint): string {
  return formatNote({ text: checkpointBody(checkpoint), signatures: checkpoint.signatures })
}

/** The form only; nothing is believed before `verifyCheckpoint`. */
export function parseCheckpoint(untrustedText: string): SignedCheckpoint {
  const { text, signatures } = parseNote(untrustedText)
  const lines = text.slice(0, -1).split('\n')
  const [origin, size, root] = lines
  // Extension lines are opaque to everyone who audits, so this ledger has none and admits none.
  if (lines.length !== 3 || !origin || size === undefined || root === undefined)
    throw invalid(`a checkpoint of ${lines.length} lines; expected origin, size and root`)
  if (!/^(0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size)))
    throw invalid(`'${printable(size).slice(0, 20)}' is no size of a ledger`)
  return { origin, size: Number(size), root: parseRoot(root), signatures }
}

/**
 * A checkpoint that `log` has signed. Lines of other keys are kept, not judged. Throws `LEDGER_NOTE_INVALID`,
 * `LEDGER_ORIGIN` or `LEDGER_SIGNATURE`.
 */
export function verifyCheckpoint(untrustedNote: Untrusted<string>, log: VerifierKey): SignedCheckpoint {
  const checkpoint = untrustedNote.parse(parseCheckpoint)
  if (checkpoint.origin !== log.name)
    throw new LedgerError(
      'LEDGER_ORIGIN',
      `a checkpoint of '${printable(checkpoint.origin).slice(0, 80)}'; expected '${log.name}'`,
    )
  const own = checkpoint.signatures.filter(one => isBy(one, log))
  if (own.length === 0) throw unsigned(checkpoint, `is not signed by ${log.name}`)
  const message = utf8(checkpointBody(checkpoint))
  // signed-note: a line of a known key that does not verify condemns the whole note.
  if (!own.every(({ signature }) => verifyEd25519(log.publicKey, message, signature)))
    throw unsigned(checkpoint, `has a wrong signature of ${log.name}`)
  return checkpoint
}

/** The newest cosignature of each known witness. One that does not verify throws `LEDGER_SIGNATURE`. */
export function verifyCosignatures(
  checkpoint: SignedCheckpoint,
  witnesses: readonly VerifierKey[],
): readonly Cosignature[] {
  return witnesses.flatMap(witness => {
    const found = checkpoint.signatures
      .filter(one => isBy(one, witness))
      .map(signature => verifyCosignature(checkpoint, witness, signature))
    const newest = found.sort((one, other) => other.time.getTime() - one.time.getTime())[0]
    return newest === undefined ? [] : [newest]
  })
}

/** One line as a witness answers it, for a checkpoint that is already known. */
export function verifyCosignatureLine(
  untrustedLine: Untrusted<string>,
  checkpoint: Checkpoint,
  witnesses: readonly VerifierKey[],
): Cosignature {
  const signature = untrustedLine.parse(parseSignatureLine)
  const witness = witnesses.find(key => isBy(signature, key))
  if (witness === undefined)
    throw unsigned(
      checkpoint,
      `was cosigned by '${printable(signature.name).slice(0, 80)}', which is no witness`,
    )
  return verifyCosignature(checkpoint, witness, signature)
}

function verifyCosignature(
  checkpoint: Checkpoint,
  witness: VerifierKey,
  signature: NoteSignature,
): Cosignature {
  const bytes = signature.signature
  if (witness.type !== 'cosignature/v1' || bytes.byteLength !== timestampBytes + ed25519SignatureLength)
    throw unsigned(checkpoint, `has something else than a cosignature of ${witness.name}`)
  const seconds = view(bytes).readBigUInt64BE()
  const message = cosignedMessage(checkpoint, seconds)
  if (seconds > timestampMax || !verifyEd25519(witness.publicKey, message, bytes.subarray(timestampBytes)))
    throw unsigned(checkpoint, `has a wrong cosignature of ${witness.name}`)
  return { witness, time: new Date(Number(seconds) * 1000), signature }
}

/** tlog-cosignature, "Ed25519 signed message". */
export function cosignedMessage(checkpoint: Checkpoint, seconds: bigint): Uint8Array {
  return utf8(`cosignature/v1\ntime ${seconds}\n${checkpointBody(checkpoint)}`)
}

function parseRoot(untrustedText: string): Uint8Array {
  const text = /^[A-Za-z0-9+/]{43}=$/.test(untrustedText) ? untrustedText : ''
  const root = Buffer.from(text, 'base64')
  if (root.byteLength !== hashBytes || toBase64(root) !== untrustedText)
    throw invalid(`the root of a checkpoint is not ${hashBytes} bytes in canonical base64`)
  return fromBase64(untrustedText)
}

function unsigned({ size }: Checkpoint, message: string): LedgerError {
  return new LedgerError('LEDGER_SIGNATURE', `the checkpoint of size ${size} ${message}`)
}

function invalid(message: string): LedgerError {
  return new LedgerError('LEDGER_NOTE_INVALID', message)
}
