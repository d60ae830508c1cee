import { createHash } from 'node:crypto'

/*
 * RFC 6962, section 2.1, word for word and without regard to cost: what the product computes from tiles is tried
 * against this.
 */

type Hash = Uint8Array

export function treeHash(leaves: readonly Hash[]): Hash {
  const [only] = leaves
  if (only === undefined) return new Uint8Array(createHash('sha256').digest())
  if (leaves.length === 1) return only
  const split = splitOf(leaves.length)
  return node(treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split)))
}

/** PROOF(from, D[n]). */
export function proveConsistency(leaves: readonly Hash[], from: number): readonly Hash[] {
  return from === 0 || from === leaves.length ? [] : subproof(from, leaves, true)
}

function subproof(from: number, leaves: readonly Hash[], whole: boolean): readonly Hash[] {
  if (from === leaves.length) return whole ? [] : [treeHash(leaves)]
  const split = splitOf(leaves.length)
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)]
  return from <= split
    ? [...subproof(from, left, whole), treeHash(right)]
    : [...subproof(from - split, right, false), treeHash(left)]
}

function node(left: Hash, right: Hash): Hash {
  return new Uint8Array(createHash('sha256').update(Uint8Array.of(1)).update(left).update(right).digest())
}

/** The largest power of two that is smaller than `count`. */
function splitOf(count: number): number {
  let split = 1
  while (split * 2 < count) split *= 2
  return split
}
