import { equalConstantTime } from '../base/bytes.ts'
import { sha256, sha256Length } from '../crypto/digest.ts'
import { LedgerError } from './errors.ts'

/*
 * The Merkle tree of RFC 6962, section 2.1, with SHA-256: hashes, and the verification of its two proofs by the
 * procedures of RFC 9162, sections 2.1.3.2 and 2.1.4.2, which need no recursion. Public half: making proofs is in
 * `proofs.ts`. Sizes are doubles, so no bit operators: they would cut at 32 bits.
 */

export const hashBytes = sha256Length
/** tlog-witness: a proof has at most 63 hashes. */
export const proofHashesMax = 63

const leafPrefix = 0x00
const nodePrefix = 0x01

export function leafHash(entry: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + entry.byteLength)
  input[0] = leafPrefix
  input.set(entry, 1)
  return sha256(input)
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + 2 * hashBytes)
  input[0] = nodePrefix
  input.set(left, 1)
  input.set(right, 1 + hashBytes)
  return sha256(input)
}

/** The root of the tree without leaves. */
export function emptyRoot(): Uint8Array {
  return sha256(new Uint8Array(0))
}

/** The hash of a tree from those of its perfect subtrees, largest (leftmost) first. */
export function joinSubtrees(hashes: readonly Uint8Array[]): Uint8Array {
  return hashes.length === 0 ? emptyRoot() : hashes.reduceRight((right, left) => nodeHash(left, right))
}

/** The root of the perfect tree over `hashes`, whose count is a power of two. */
export function perfectRoot(hashes: readonly Uint8Array[]): Uint8Array {
  let row = hashes
  while (row.length > 1) {
    const above: Uint8Array[] = []
    for (let at = 0; at + 1 < row.length; at += 2)
      above.push(nodeHash(row[at] as Uint8Array, row[at + 1] as Uint8Array))
    row = above
  }
  return row[0] ?? emptyRoot()
}

/**
 * A tree known by the hashes of its perfect subtrees only, one for each bit set in its size: enough to append leaves
 * and to have the root. A reader who follows a ledger entry by entry needs nothing else.
 */
export class Frontier {
  #size = 0
  #hashes: Uint8Array[] = []

  get size(): number {
    return this.#size
  }

  push(leaf: Uint8Array): void {
    let hash = leaf
    for (let size = this.#size; size % 2 === 1; size = half(size))
      hash = nodeHash(this.#hashes.pop() as Uint8Array, hash)
    this.#hashes.push(hash)
    this.#size += 1
  }

  root(): Uint8Array {
    return joinSubtrees(this.#hashes)
  }

  clone(): Frontier {
    const copy = new Frontier()
    copy.#size = this.#size
    copy.#hashes = [...this.#hashes]
    return copy
  }
}

export interface InclusionProof {
  readonly leaf: Uint8Array
  readonly index: number
  readonly size: number
  readonly root: Uint8Array
  readonly proof: readonly Uint8Array[]
}

/** Throws `LEDGER_PROOF_INVALID` unless the leaf is at `index` in the tree of that size and root. */
export function verifyInclusion({ leaf, index, size, root, proof }: InclusionProof): void {
  if (!isSize(index) || !isSize(size) || index >= size)
    throw invalid(`entry ${index} is outside a tree of ${size}`)
  refuseOddHashes([leaf, root, ...proof])
  let node = index
  let last = size - 1
  let hash = leaf
  for (const sibling of proof) {
    if (last === 0) throw invalid(`the inclusion proof of entry ${index} is too long`)
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash)
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)]
    } else hash = nodeHash(hash, sibling)
    ;[node, last] = [half(node), half(last)]
  }
  if (last !== 0) throw invalid(`the inclusion proof of entry ${index} is too short`)
  if (!equalConstantTime(hash, root))
    throw invalid(`the inclusion proof of entry ${index} does not lead to the root of size ${size}`)
}

export interface ConsistencyProof {
  readonly fromSize: number
  readonly fromRoot: Uint8Array
  readonly size: number
  readonly root: Uint8Array
  readonly proof: readonly Uint8Array[]
}

/** Throws `LEDGER_PROOF_INVALID` unless the first tree is a prefix of the second. */
export function verifyConsistency({ fromSize, fromRoot, size, root, proof }: ConsistencyProof): void {
  if (!isSize(fromSize) || !isSize(size) || fromSize > size)
    throw invalid(`no tree of ${fromSize} is a prefix of a tree of ${size}`)
  refuseOddHashes([fromRoot, root, ...proof])
  if (fromSize === size || fromSize === 0) {
    if (proof.length > 0) throw invalid(`the consistency proof from ${fromSize} to ${size} must be empty`)
    const same = equalConstantTime(fromRoot, fromSize === 0 ? emptyRoot() : root)
    if (!same) throw invalid(`two different roots of size ${fromSize}`)
    return
  }
  const [older, newer] = walkConsistency(fromSize, size, fromRoot, proof)
  if (!equalConstantTime(older, fromRoot) || !equalConstantTime(newer, root))
    throw invalid(`the tree of ${fromSize} is not a prefix of the tree of ${size}`)
}

/** Both roots as the proof gives them. `0 < fromSize < size`. */
function walkConsistency(
  fromSize: number,
  size: number,
  fromRoot: Uint8Array,
  proof: readonly Uint8Array[],
): readonly [Uint8Array, Uint8Array] {
  let node = fromSize - 1
  let last = size - 1
  while (node % 2 === 1) [node, last] = [half(node), half(last)]
  // A perfect first tree is its own first node, and the proof leaves it out.
  const path = node === 0 ? [fromRoot, ...proof] : proof
  const [first, ...rest] = path
  if (first === undefined) throw invalid(`the consistency proof from ${fromSize} to ${size} is too short`)
  let older = first
  let newer = first
  for (const sibling of rest) {
    if (last === 0) throw invalid(`the consistency proof from ${fromSize} to ${size} is too long`)
    if (node % 2 === 1 || node === last) {
      older = nodeHash(sibling, older)
      newer = nodeHash(sibling, newer)
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)]
    } else newer = nodeHash(newer, sibling)
    ;[node, last] = [half(node), half(last)]
  }
  if (last !== 0) throw invalid(`the consistency proof from ${fromSize} to ${size} is too short`)
  return [older, newer]
}

export function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function refuseOddHashes(hashes: readonly Uint8Array[]): void {
  if (hashes.length > proofHashesMax + 2) throw invalid(`a proof of more than ${proofHashesMax} hashes`)
  for (const hash of hashes)
    if (hash.byteLength !== hashBytes)
      throw invalid(`a hash of ${hash.byteLength} bytes; expected ${hashBytes}`)
}

function half(value: number): number {
  return Math.floor(value / 2)
}

function invalid(message: string): LedgerError {
  return new LedgerError('LEDGER_PROOF_INVALID', message)
}
