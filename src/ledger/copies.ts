import { equalConstantTime } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Checkpoint } from './checkpoint.ts'
import { Frontier, leafHash, verifyConsistency } from './merkle.ts'

/* Copies of what should be one ledger: where do they part? Needs no disk layout and no signing code. */

const entryTextLengthMax = 300

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
function sharedSize(one: LedgerCopy, other: LedgerCopy): Promise<number> {
  const isShared = async (size: number) => equalConstantTime(await one.root(size), await other.root(size))
  return lastThatHolds(Math.min(one.size, other.size), isShared)
}

/** The highest of 0 to `max` for which it holds, where it holds for all below and for 0. */
export async function lastThatHolds(
  max: number,
  holds: (value: number) => Promise<boolean>,
): Promise<number> {
  let [last, beyond] = [0, max + 1]
  while (beyond - last > 1) {
    const middle = Math.floor((last + beyond) / 2)
    if (await holds(middle)) last = middle
    else beyond = middle
  }
  return last
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

/** What a ledger that somebody else keeps shows of itself: its checkpoint, and that it continues the first `from` entries. */
export type ShowLedger = (
  from: number,
) => Promise<{ readonly checkpoint: Checkpoint; readonly consistency: readonly Uint8Array[] }>

/** How many entries a copy shares with a ledger that is only shown, by its own proofs: it cannot claim to share more than it does. */
export function sharedByProof(copy: LedgerCopy, show: ShowLedger): Promise<number> {
  return lastThatHolds(copy.size, size => isProven(copy, size, show))
}

async function isProven(copy: LedgerCopy, fromSize: number, show: ShowLedger): Promise<boolean> {
  const { checkpoint, consistency: proof } = await show(fromSize)
  const { size, root } = checkpoint
  if (size < fromSize) return false
  try {
    verifyConsistency({ fromSize, fromRoot: await copy.root(fromSize), size, root, proof })
    return true
  } catch (error) {
    if (error instanceof CodedError) return false
    throw error
  }
}

/** An entry for people: printable and bounded, whoever wrote it. */
export function entryText(entry: Uint8Array | undefined): string {
  if (entry === undefined) return 'nothing'
  const text = printable(Buffer.from(entry).toString('utf8'))
  return text.length > entryTextLengthMax ? `${text.slice(0, entryTextLengthMax)}…` : text
}
