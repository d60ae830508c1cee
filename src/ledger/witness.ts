import { equalConstantTime, fromHex, KiB, toHex, utf8 } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { type Checkpoint, verifyCheckpoint } from './checkpoint.ts'
import { LedgerError, WitnessConflict } from './errors.ts'
import { emptyRoot, hashBytes, verifyConsistency } from './merkle.ts'
import { parseKeyName, type VerifierKey } from './note.ts'
import { cosign, type Signer } from './signing.ts'

/*
 * A witness by https://c2sp.org/tlog-witness, "add-checkpoint", without its HTTP. It remembers one checkpoint of a
 * ledger and never cosigns one that does not continue it. Pure: whoever calls keeps the state, admits one checkpoint at
 * a time, and has stored the new state durably before the cosignature leaves.
 */

const stateBytesMax = KiB

/** The newest checkpoint that was cosigned; `null` before the first. */
export type WitnessState = Checkpoint

export interface CheckpointSubmission {
  readonly checkpoint: Untrusted<string>
  /** The size that the proof starts from. */
  readonly fromSize: number
  readonly proof: readonly Uint8Array[]
}

export interface Witness {
  readonly name: string
  readonly signer: Signer
}

export interface Admission {
  readonly state: WitnessState
  readonly cosignature: string
}

/** `examine`, then the cosignature. */
export async function admit(
  state: WitnessState | null,
  submission: CheckpointSubmission,
  log: VerifierKey,
  witness: Witness,
  now: Date,
): Promise<Admission> {
  const next = examine(state, submission, log)
  return { state: next, cosignature: await cosign(next, witness.name, witness.signer, now) }
}

/**
 * The state after the submitted checkpoint, or why it is not cosigned: `LEDGER_SIGNATURE`, `LEDGER_ORIGIN`,
 * `LEDGER_WITNESS_CONFLICT` (ask again from `size`), and the two alarms `LEDGER_BACKWARDS` and `LEDGER_FORKED`.
 */
export function examine(
  state: WitnessState | null,
  { checkpoint: untrustedCheckpoint, fromSize, proof }: CheckpointSubmission,
  log: VerifierKey,
): WitnessState {
  const { origin, size, root } = verifyCheckpoint(untrustedCheckpoint, log)
  const known = state ?? { origin, size: 0, root: emptyRoot() }
  if (known.origin !== origin)
    throw new LedgerError('LEDGER_ORIGIN', `this witness follows '${known.origin}', not '${origin}'`)
  if (size < known.size)
    throw new LedgerError('LEDGER_BACKWARDS', `a checkpoint of size ${size} after one of ${known.size}`)
  if (size === known.size && !equalConstantTime(root, known.root))
    throw new LedgerError('LEDGER_FORKED', `two different checkpoints of size ${size}`)
  if (fromSize !== known.size)
    throw new WitnessConflict(known.size, `the proof starts from ${fromSize}; the witness has ${known.size}`)
  try {
    verifyConsistency({ fromSize, fromRoot: known.root, size, root, proof })
  } catch (cause) {
    throw new LedgerError('LEDGER_FORKED', `nothing shows that size ${size} continues size ${fromSize}`, {
      cause,
    })
  }
  return { origin, size, root }
}

/** The fields of a witness's state, in a file of its own or in another record. */
export const parseWitnessFields = fields('witness state', {
  origin: is.name(parseKeyName),
  size: is.integer(),
  root: is.name(text => fromHex(text, hashBytes)),
})

export function witnessFields({ origin, size, root }: WitnessState): object {
  return { origin, size, root: toHex(root) }
}

/** The file in which a witness keeps its state. */
export function encodeWitnessState(state: WitnessState): Uint8Array {
  return utf8(`${JSON.stringify(witnessFields(state))}\n`)
}

export function parseWitnessState(untrustedBytes: Uint8Array): WitnessState {
  return parseWitnessFields(parseJson(untrustedBytes, { bytesMax: stateBytesMax }))
}
