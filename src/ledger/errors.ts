import { type ErrorCatalogue, type ErrorOptions, errorClass } from '../base/errors.ts'

export const ledgerErrors = {
  LEDGER_MISSING: {
    kind: 'missing',
    meaning: 'There is no ledger in that directory.',
    hint: 'restore it from a copy; create a new one only on a machine that never had one',
  },
  LEDGER_EXISTS: {
    kind: 'conflict',
    meaning: 'There already is a ledger in that directory.',
    hint: 'open it instead; a ledger is never started over in place',
  },
  LEDGER_DAMAGED: {
    kind: 'integrity',
    meaning: 'A file of the ledger is missing, or is not what the signed checkpoint says.',
    hint: 'keep the directory as evidence and compare it with the copies of the witnesses',
  },
  LEDGER_ROLLED_BACK: {
    kind: 'integrity',
    meaning: 'The ledger is genuine but older than one that was already seen.',
    hint: 'an older state of the disk was put back: restore the newest copy before any order is taken',
  },
  LEDGER_FORKED: {
    kind: 'integrity',
    meaning: 'Two states of one ledger contradict each other: its history was rewritten.',
    hint: 'keep both checkpoints as evidence, and compare the copies of dom0 and of the witnesses',
  },
  LEDGER_BACKWARDS: {
    kind: 'integrity',
    meaning: 'The ledger showed a checkpoint that is smaller than one it showed before.',
    hint: 'keep both checkpoints as evidence, and look at dom0 before trusting its ledger again',
  },
  LEDGER_WITNESS_CONFLICT: {
    kind: 'conflict',
    meaning: 'The witness has seen another size than the one that the proof starts from.',
    hint: 'ask again with a proof that starts from the size in the error',
  },
  LEDGER_NOTE_INVALID: {
    kind: 'usage',
    meaning: 'A checkpoint, a signature line or a verifier key is malformed.',
    hint: 'see the reference page of the ledger; the text may have been cut on its way',
  },
  LEDGER_SIGNATURE: {
    kind: 'integrity',
    meaning: 'A checkpoint or a cosignature does not have the signature of the expected key.',
    hint: 'do not trust it; compare the key with the one in the sealed configuration',
  },
  LEDGER_ORIGIN: {
    kind: 'refused',
    meaning: 'The checkpoint belongs to another ledger.',
    hint: 'compare the origin with the one in the sealed configuration',
  },
  LEDGER_PROOF_INVALID: {
    kind: 'integrity',
    meaning: 'A Merkle proof does not lead to the root of the checkpoint.',
    hint: 'the entry is not in that ledger, or the proof belongs to another checkpoint',
  },
  LEDGER_QUORUM: {
    kind: 'refused',
    meaning: 'Too few witnesses have cosigned the checkpoint.',
    hint: 'wait for the witnesses, or look why one of them does not sign',
  },
  LEDGER_ENTRY_INVALID: {
    kind: 'integrity',
    meaning: 'An entry contradicts those before it, or stands where it must not.',
    hint: 'keep the ledger as evidence; the message names the entry',
  },
  LEDGER_RANGE: {
    kind: 'usage',
    meaning: 'A position or size that the ledger does not have.',
    hint: 'ask within the size of the checkpoint',
  },
  LEDGER_LIMIT: {
    kind: 'usage',
    meaning: 'More at once than the ledger takes.',
    hint: 'append fewer entries at a time',
  },
  LEDGER_SIGNER: {
    kind: 'unavailable',
    meaning: 'The signer failed, or answered with a signature that its own public key does not verify.',
    hint: 'look at the key or token that signs the ledger; nothing was recorded',
  },
  LEDGER_BUSY: {
    kind: 'conflict',
    meaning: 'Another process writes this ledger, or too many appends are waiting.',
    hint: 'let one process alone write a ledger; try again later',
  },
  LEDGER_WRITE: {
    kind: 'unavailable',
    meaning: 'The ledger could not be read or written.',
    hint: 'look at the disk of dom0; the next append reads back what was recorded',
  },
  LEDGER_FULL: {
    kind: 'full',
    meaning: 'There is no room for the ledger.',
    hint: 'make room on the disk of dom0: without its ledger it takes no orders',
  },
} as const satisfies ErrorCatalogue

export class LedgerError extends errorClass(ledgerErrors) {}

/** The witness's answer to a proof from the wrong size; tlog-witness, "409 Conflict". */
export class WitnessConflict extends LedgerError {
  /** The size of the newest checkpoint that the witness has cosigned. */
  readonly size: number

  constructor(size: number, message: string, options?: ErrorOptions) {
    super('LEDGER_WITNESS_CONFLICT', message, options)
    this.size = size
  }
}
