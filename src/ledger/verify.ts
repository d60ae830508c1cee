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

/** One of several copies of what should be the same ledger. `Ledger` is one. */
export interface LedgerCopy {
  readonly size: number
  /** The root of the first `size` entries. */
  root(size: number): Promise<Uint8Array>
}

export interface Difference {
  /** The first entry that the two copies do not share. */
  readonly index: number
  readonly copies: readonly [string, string]
  /** `behind`: the second copy ends there. `forked`: it goes on otherwise. */
  readonly kind: 'behind' | 'forked'
}

/** The first difference between the first-named copy and any other; `null` when all are equal. */
export async function compareCopies(copies: ReadonlyMap<string, LedgerCopy>): Promise<Difference | null> {
  const [first, ...others] = copies
  if (first === undefined) return null
  const [name, copy] = first
  const differences: Difference[] = []
  for (const [otherName, other] of others) {
    const shared = await sharedSize(copy, other)
    if (shared === copy.size && shared === other.size) continue
    const shorter: readonly [string, string] = other.size < copy.size ? [name, otherName] : [otherName, name]
    const behind = shared === Math.min(copy.size, other.size)
    differences.push({
      index: shared,
      copies: behind ? shorter : [name, otherName],
      kind: behind ? 'behind' : 'forked',
    })
  }
  return differences.sort((one, other) => one.index - other.index)[0] ?? null
}

/** How many entries two copies share: equal roots mean equal prefixes, so halving finds it. */
async function sharedSize(one: LedgerCopy, other: LedgerCopy): Promise<number> {
  let same = 0
  let different = Math.min(one.size, other.size) + 1
  while (different - same > 1) {
    const middle = Math.floor((same + different) / 2)
    if (equalConstantTime(await one.root(middle), await other.root(middle))) same = middle
    else different = middle
  }
  return same
}

/** A copy made of the entries themselves. */
export function copyOfEntries(entries: readonly Uint8Array[]): LedgerCopy {
  const leaves = entries.map(leafHash)
  return {
    size: leaves.length,
    async root(size) {
      const frontier = new Frontier()
      for (const leaf of leaves.slice(0, size)) frontier.push(leaf)
      return frontier.root()
    },
  }
}
