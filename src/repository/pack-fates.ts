import type { Digest } from '../base/names.ts'
import type { ObjectReference } from './format.ts'

/* What becomes of each pack. Pure. */

/** How much of a pack the snapshots that stay need. */
export interface PackUsage extends ObjectReference {
  readonly blobs: number
  readonly neededBlobs: number
  /** Of the sealed blobs. */
  readonly neededBytes: number
  readonly unneededBytes: number
}

export type Fate = 'keep' | 'rewrite' | 'remove'

/**
 * How many bytes that nobody needs may stay, as a share of those that are needed: rewriting a pack for the sake of its
 * last few blobs costs more than it frees. As stock restic's `--max-unused`.
 */
export const unneededShareMax = 0.05

/**
 * A pack of which nothing is needed is removed. Of the others those with the largest unneeded share are rewritten, until
 * no more is left over than may be. The same usages give the same fates.
 */
export function decideFates(
  packs: readonly PackUsage[],
  shareMax = unneededShareMax,
): ReadonlyMap<Digest, Fate> {
  const fates = new Map<Digest, Fate>()
  for (const { id, neededBlobs } of packs) fates.set(id, neededBlobs === 0 ? 'remove' : 'keep')
  const staying = packs.filter(({ neededBlobs }) => neededBlobs > 0)
  const allowed = shareMax * sum(staying, ({ neededBytes }) => neededBytes)
  let left = sum(staying, ({ unneededBytes }) => unneededBytes)
  for (const { id, unneededBytes } of staying.toSorted(worstFirst)) {
    if (left <= allowed) break
    fates.set(id, 'rewrite')
    left -= unneededBytes
  }
  return fates
}

function worstFirst(one: PackUsage, other: PackUsage): number {
  return shareOf(other) - shareOf(one) || (one.id < other.id ? -1 : 1)
}

function shareOf({ neededBytes, unneededBytes }: PackUsage): number {
  return unneededBytes / (neededBytes + unneededBytes)
}

export function sum<T>(items: readonly T[], bytes: (item: T) => number): number {
  return items.reduce((total, item) => total + bytes(item), 0)
}
