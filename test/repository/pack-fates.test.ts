import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDigest } from '../../src/base/names.ts'
import { RecordSet } from '../../src/repository/live-blobs.ts'
import { decideFates, type PackUsage } from '../../src/repository/pack-fates.ts'

const usage = (id: number, neededBytes: number, unneededBytes: number): PackUsage => ({
  id: parseDigest(id.toString(16).padStart(64, '0')),
  bytes: neededBytes + unneededBytes + 100,
  blobs: 10,
  neededBlobs: neededBytes > 0 ? 5 : 0,
  neededBytes,
  unneededBytes,
})

const fatesOf = (packs: readonly PackUsage[], share?: number) =>
  packs.map(({ id }) => decideFates(packs, share).get(id))

describe('the fate of a pack', () => {
  test('of which nothing is needed is to go, of which everything is needed to stay', () => {
    expect(fatesOf([usage(1, 0, 500), usage(2, 500, 0)])).toEqual(['remove', 'keep'])
  })

  test('that is worst used is to be rewritten first, until little enough is left over', () => {
    const packs = [usage(1, 100, 900), usage(2, 900, 100), usage(3, 999, 1), usage(4, 8_000, 0)]
    expect(fatesOf(packs)).toEqual(['rewrite', 'keep', 'keep', 'keep'])
    expect(fatesOf(packs, 0.001)).toEqual(['rewrite', 'rewrite', 'keep', 'keep'])
    expect(fatesOf(packs, 0)).toEqual(['rewrite', 'rewrite', 'rewrite', 'keep'])
    expect(fatesOf(packs, 1)).toEqual(['keep', 'keep', 'keep', 'keep'])
  })

  test('does not depend on the order, and leaves no more over than it may', () => {
    const bytes = fc.integer({ min: 0, max: 1_000_000 })
    const packs = fc
      .array(fc.tuple(bytes, bytes), { maxLength: 50 })
      .map(pairs => pairs.map(([needed, unneeded], at) => usage(at, needed, unneeded)))
    fc.assert(
      fc.property(packs, fc.double({ min: 0, max: 1, noNaN: true }), (given, share) => {
        const fates = decideFates(given, share)
        const again = decideFates(given.toReversed(), share)
        for (const { id, neededBytes } of given) {
          expect(again.get(id)).toBe(fates.get(id))
          expect(fates.get(id) === 'remove').toBe(neededBytes === 0)
        }
        const of = (fate: string) => given.filter(({ id }) => fates.get(id) === fate)
        const left = of('keep').reduce((sum, { unneededBytes }) => sum + unneededBytes, 0)
        const needed = given.reduce((sum, { neededBytes }) => sum + neededBytes, 0)
        expect(left).toBeLessThanOrEqual(share * needed)
        expect(of('rewrite').every(({ unneededBytes }) => unneededBytes > 0)).toBe(true)
      }),
    )
  })
})

test('a set of entries is a set', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1000)), entries => {
      const set = new RecordSet(1001)
      const model = new Set<number>()
      for (const entry of entries) {
        expect(set.add(entry)).toBe(!model.has(entry))
        model.add(entry)
      }
      for (let entry = 0; entry <= 1000; entry++) expect(set.has(entry)).toBe(model.has(entry))
    }),
  )
})
