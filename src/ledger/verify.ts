import { equalConstantTime } from '../base/bytes.ts'
import { type Checkpoint, type Cosignature, type SignedCheckpoint, verifyCosignatures } from './checkpoint.ts'
import { LedgerError } from './errors.ts'
import { Frontier, leafHash, verifyConsistency, verifyInclusion } from './merkle.ts'
import type { VerifierKey } from './note.ts'

/*
 * What anyone with the public keys can find out about a ledger: the management VM, the CLI, an auditor. It needs no
 * disk layout and no signing code.
 */

/**
 * Follows the entries after `known` and proves that they end in `checkpoint`. Answers the frontier to go on from;
 * `known` is left as it is. Throws `LEDGER_DAMAGED`.
 */
export function verifyEntries(
  entries: Iterable<Uint8Array>,
  checkpoint: Checkpoint,
  known: Frontier = new Frontier(),
): Frontier {
  const frontier = known.clone()
  for (const entry of entries) frontier.push(leafHash(entry))
  if (frontier.size !== checkpoint.size)
    throw new LedgerError(
      'LEDGER_DAMAGED',
      `${frontier.size} entries; the checkpoint says ${checkpoint.size}`,
    )
  if (!equalConstantTime(frontier.root(), checkpoint.root))
    throw new LedgerError('LEDGER_DAMAGED', `the ${frontier.size} entries are not those of the checkpoint`)
  return frontier
}

/** That `entry`, as bytes, stands at `index` of the ledger. Throws `LEDGER_PROOF_INVALID`. */
export function verifyEntry(
  entry: Uint8Array,
  index: number,
  proof: readonly Uint8Array[],
  { size, root }: Checkpoint,
): void {
  verifyInclusion({ leaf: leafHash(entry), index, size, root, proof })
}

/** That `newer` only adds to `older`. Throws `LEDGER_ORIGIN`, `LEDGER_BACKWARDS` or `LEDGER_PROOF_INVALID`. */
export function verifyContinues(older: Checkpoint, newer: Checkpoint, proof: readonly Uint8Array[]): void {
  if (older.origin !== newer.origin)
    throw new LedgerError('LEDGER_ORIGIN', `'${newer.origin}' does not continue '${older.origin}'`)
  if (newer.size < older.size)
    throw new LedgerError('LEDGER_BACKWARDS', `a checkpoint of size ${newer.size} after one of ${older.size}`)
  verifyConsistency({
    fromSize: older.size,
    fromRoot: older.root,
    size: newer.size,
    root: newer.root,
    proof,
  })
}

/**
 * The cosignatures under a checkpoint, of at least `threshold` witnesses. Counts key material: one key under two names
 * is one witness. Throws `LEDGER_SIGNATURE` or `LEDGER_QUORUM`.
 */
export function verifyQuorum(
  checkpoint: SignedCheckpoint,
  witnesses: readonly VerifierKey[],
  threshold: number,
): readonly Cosignature[] {
  const cosignatures = verifyCosignatures(checkpoint, witnesses)
  const keys = new Set(cosignatures.map(({ witness }) => Buffer.from(witness.publicKey).toString('hex')))
  if (!Number.isSafeInteger(threshold) || threshold < 0 || keys.size < threshold)
    throw new LedgerError(
      'LEDGER_QUORUM',
      `${keys.size} witnesses have cosigned the checkpoint of size ${checkpoint.size}; ${threshold} are required`,
    )
  return cosignatures
}
