import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHex, toHex, utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import {
  emptyRoot,
  Frontier,
  leafHash,
  nodeHash,
  perfectRoot,
  verifyConsistency,
  verifyInclusion,
} from '../../src/ledger/merkle.ts'
import { consistencyProof, type HashSource, inclusionProof, rootOf } from '../../src/ledger/proofs.ts'

/** The eight leaves that Certificate Transparency implementations share as test data, and the roots after each. */
const leaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map(hex => fromHex(hex, hex.length / 2))
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

/** RFC 6962, section 2.1, word for word. */
function mth(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return emptyRoot()
  if (hashes.length === 1) return hashes[0] as Uint8Array
  let split = 1
  while (split * 2 < hashes.length) split *= 2
  return nodeHash(mth(hashes.slice(0, split)), mth(hashes.slice(split)))
}

function sourceOf(hashes: readonly Uint8Array[]): HashSource {
  return {
    async subtree(height, index) {
      const width = 2 ** height
      expect((index + 1) * width).toBeLessThanOrEqual(hashes.length)
      return perfectRoot(hashes.slice(index * width, (index + 1) * width))
    },
  }
}

const many = Array.from({ length: 600 }, (_, at) => leafHash(utf8(`leaf ${at}`)))
const frontierOf = (hashes: readonly Uint8Array[]) => {
  const frontier = new Frontier()
  for (const hash of hashes) frontier.push(hash)
  return frontier
}

describe('Merkle tree hashes', () => {
  it('has the known roots', () => {
    expect(toHex(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
    const frontier = new Frontier()
    const found = leaves.map(leaf => {
      frontier.push(leafHash(leaf))
      return toHex(frontier.root())
    })
    expect(found).toEqual(roots)
  })

  it('agrees with the definition at every size', async () => {
    for (let size = 0; size <= 130; size += 1) {
      const hashes = many.slice(0, size)
      const expected = toHex(mth(hashes))
      expect(toHex(frontierOf(hashes).root())).toBe(expected)
      expect(toHex(await rootOf(sourceOf(many), size))).toBe(expected)
    }
  })

  it('tells a leaf from a node', () => {
    const [left, right] = [leafHash(utf8('a')), leafHash(utf8('b'))]
    const forged = new Uint8Array([...left, ...right])
    expect(toHex(leafHash(forged))).not.toBe(toHex(nodeHash(left, right)))
  })

  it('leaves a cloned frontier alone', () => {
    const frontier = frontierOf(many.slice(0, 3))
    const before = toHex(frontier.root())
    frontier.clone().push(leafHash(utf8('x')))
    expect([frontier.size, toHex(frontier.root())]).toEqual([3, before])
  })
})

const sizes = fc.integer({ min: 1, max: 600 })

describe('inclusion proofs', () => {
  it('holds for every entry of every small tree', async () => {
    for (let size = 1; size <= 40; size += 1)
      for (let index = 0; index < size; index += 1) {
        const proof = await inclusionProof(sourceOf(many), index, size)
        const root = mth(many.slice(0, size))
        verifyInclusion({ leaf: many[index] as Uint8Array, index, size, root, proof })
      }
  })

  it('refuses another leaf, index, size, root or proof', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, someIndex, someOther) => {
        const index = someIndex % size
        const proof = await inclusionProof(sourceOf(many), index, size)
        const root = mth(many.slice(0, size))
        const honest = { leaf: many[index] as Uint8Array, index, size, root, proof }
        verifyInclusion(honest)
        const other = someOther % 600
        if (other !== index) {
          refused(() => verifyInclusion({ ...honest, leaf: many[other] as Uint8Array }))
          if (size > 1) refused(() => verifyInclusion({ ...honest, index: other }))
        }
        refused(() => verifyInclusion({ ...honest, root: leafHash(root) }))
        refused(() => verifyInclusion({ ...honest, proof: [...proof, root] }))
        if (proof.length > 0) refused(() => verifyInclusion({ ...honest, proof: proof.slice(1) }))
      }),
      { numRuns: 60 },
    )
  })
})

describe('consistency proofs', () => {
  it('holds between every two small trees', async () => {
    for (let size = 0; size <= 40; size += 1)
      for (let fromSize = 0; fromSize <= size; fromSize += 1) {
        const proof = await consistencyProof(sourceOf(many), fromSize, size)
        const [fromRoot, root] = [mth(many.slice(0, fromSize)), mth(many.slice(0, size))]
        verifyConsistency({ fromSize, fromRoot, size, root, proof })
      }
  })

  it('refuses a history that was rewritten, and a proof that was changed', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(), fc.nat(), async (size, someFrom, somePlace) => {
        const fromSize = 1 + (someFrom % size)
        const rewritten = many.with(somePlace % fromSize, leafHash(utf8('rewritten')))
        const [fromRoot, root] = [mth(many.slice(0, fromSize)), mth(rewritten.slice(0, size))]
        const proof = await consistencyProof(sourceOf(rewritten), fromSize, size)
        verifyConsistency({ fromSize, fromRoot: mth(rewritten.slice(0, fromSize)), size, root, proof })
        refused(() => verifyConsistency({ fromSize, fromRoot, size, root, proof }))
        const honest = await consistencyProof(sourceOf(many), fromSize, size)
        refused(() => verifyConsistency({ fromSize, fromRoot, size, root, proof: honest }))
        const right = { fromSize, fromRoot, size, root: mth(many.slice(0, size)), proof: honest }
        verifyConsistency(right)
        refused(() => verifyConsistency({ ...right, proof: [...honest, root] }))
        if (honest.length > 0) refused(() => verifyConsistency({ ...right, proof: honest.slice(0, -1) }))
      }),
      { numRuns: 60 },
    )
  })

  it('answers anything with a verdict', () => {
    const hash = fc.uint8Array({ minLength: 30, maxLength: 33 })
    const number = fc.oneof(fc.integer(), fc.double(), fc.maxSafeNat())
    fc.assert(
      fc.property(
        number,
        number,
        hash,
        hash,
        fc.array(hash, { maxLength: 70 }),
        (one, two, from, to, proof) => {
          verdict(() => verifyInclusion({ leaf: from, index: one, size: two, root: to, proof }))
          verdict(() => verifyConsistency({ fromSize: one, fromRoot: from, size: two, root: to, proof }))
        },
      ),
    )
  })
})

function refused(work: () => void): void {
  expect(work).toThrow(expect.objectContaining({ code: 'LEDGER_PROOF_INVALID' }))
}

function verdict(work: () => void): void {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError)
  }
}
