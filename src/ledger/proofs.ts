import { LedgerError } from './errors.ts'
import { isSize, joinSubtrees } from './merkle.ts'

/*
 * Making proofs (RFC 6962, sections 2.1.1 and 2.1.2). Each hash of a proof is the hash of a range of leaves, and each
 * such range is made of perfect subtrees, which `HashSource` has stored or makes from at most one tile.
 */

export interface HashSource {
  /** The hash of the leaves `[index * 2**height, (index + 1) * 2**height)`, all of which exist. */
  subtree(height: number, index: number): Promise<Uint8Array>
}

/** Leaves `[start, end)`; `start` is a multiple of the smallest power of two that holds the range. */
interface Range {
  readonly start: number
  readonly end: number
}

/** The Merkle tree hash of the first `size` leaves. */
export function rootOf(source: HashSource, size: number): Promise<Uint8Array> {
  return rangeHash(source, { start: 0, end: size })
}

/** The audit path of leaf `index` in the tree of the first `size` leaves. */
export async function inclusionProof(
  source: HashSource,
  index: number,
  size: number,
): Promise<readonly Uint8Array[]> {
  if (!isSize(index) || !isSize(size) || index >= size)
    throw new LedgerError('LEDGER_RANGE', `no entry ${index} in a tree of ${size}`)
  const siblings: Range[] = []
  let { start, end }: Range = { start: 0, end: size }
  while (end - start > 1) {
    const middle = start + largestPowerBelow(end - start)
    siblings.push(index < middle ? { start: middle, end } : { start, end: middle })
    if (index < middle) end = middle
    else start = middle
  }
  return await hashesOf(source, siblings.reverse())
}

/** The proof that the tree of the first `fromSize` leaves is a prefix of the tree of the first `size`. */
export async function consistencyProof(
  source: HashSource,
  fromSize: number,
  size: number,
): Promise<readonly Uint8Array[]> {
  if (!isSize(fromSize) || !isSize(size) || fromSize > size)
    throw new LedgerError('LEDGER_RANGE', `no consistency proof from ${fromSize} to ${size}`)
  if (fromSize === 0 || fromSize === size) return []
  const parts: Range[] = []
  let { start, end }: Range = { start: 0, end: size }
  while (end !== fromSize) {
    const middle = start + largestPowerBelow(end - start)
    parts.push(fromSize <= middle ? { start: middle, end } : { start, end: middle })
    if (fromSize <= middle) end = middle
    else start = middle
  }
  // The verifier has the first root already; only another node has to be told.
  if (start > 0) parts.push({ start, end })
  return await hashesOf(source, parts.reverse())
}

function hashesOf(source: HashSource, ranges: readonly Range[]): Promise<readonly Uint8Array[]> {
  return Promise.all(ranges.map(range => rangeHash(source, range)))
}

async function rangeHash(source: HashSource, { start, end }: Range): Promise<Uint8Array> {
  const subtrees: Promise<Uint8Array>[] = []
  for (let at = start; at < end; ) {
    const height = heightOf(end - at)
    subtrees.push(source.subtree(height, at / 2 ** height))
    at += 2 ** height
  }
  return joinSubtrees(await Promise.all(subtrees))
}

/** The height of the largest perfect tree with at most `count` leaves. */
function heightOf(count: number): number {
  let height = 0
  while (2 ** (height + 1) <= count) height += 1
  return height
}

/** RFC 6962: the largest power of two smaller than `count`, which is at least 2. */
function largestPowerBelow(count: number): number {
  return 2 ** heightOf(count - 1)
}
