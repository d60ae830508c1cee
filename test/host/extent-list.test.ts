import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allData, ExtentList, grainBytesMin } from '../../src/host/extent-list.ts'
import type { Extent } from '../../src/host/volumes.ts'

const grain = grainBytesMin
const kinds = ['data', 'hole', 'unchanged'] as const

function listOf(bytes: number, parts: readonly (readonly [Extent['kind'], number])[], countMax?: number) {
  const list = new ExtentList(bytes, countMax)
  for (const [kind, length] of parts) list.add(kind, list.end + length)
  return list.finish()
}

describe('a list of extents', () => {
  test('covers the volume without gaps, and says nothing that it was not told', () => {
    const part = fc.tuple(fc.constantFrom(...kinds), fc.integer({ min: 0, max: 3 * grain }))
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 60 }),
        fc.integer({ min: 0, max: 60 * grain }),
        (parts, bytes) => {
          const told: { kind: string; offset: number; end: number }[] = []
          let at = 0
          for (const [kind, length] of parts) {
            told.push({ kind, offset: at, end: at + length })
            at += length
          }
          for (const countMax of [4, 1000]) {
            const list = new ExtentList(bytes, countMax)
            for (const { kind, end } of told) list.add(kind as Extent['kind'], Math.max(list.end, end))
            const extents = list.finish()
            let end = 0
            for (const extent of extents) {
              expect(extent.offset).toBe(end)
              expect(extent.length).toBeGreaterThan(0)
              end += extent.length
              if (extent.kind === 'data') continue
              // Every byte of it was told to be that.
              const wrong = told.some(
                one =>
                  one.kind !== extent.kind && one.offset < Math.min(end, one.end) && one.end > extent.offset,
              )
              expect(wrong).toBe(false)
            }
            expect(end).toBe(bytes)
            expect(extents.length).toBeLessThanOrEqual(countMax + 2)
          }
        },
      ),
    )
  })

  test('keeps what is long enough, and turns the rest into data', () => {
    const parts: [Extent['kind'], number][] = [
      ['hole', grain],
      ['unchanged', grain - 1],
      ['data', 1],
      ['hole', grain - 1],
      ['unchanged', grain],
    ]
    expect(listOf(10 * grain, parts)).toEqual([
      { kind: 'hole', offset: 0, length: grain },
      { kind: 'data', offset: grain, length: 2 * grain - 1 },
      { kind: 'unchanged', offset: 3 * grain - 1, length: grain },
      { kind: 'data', offset: 4 * grain - 1, length: 6 * grain + 1 },
    ])
  })

  test('joins what is told in pieces before it is measured', () => {
    const parts = Array.from({ length: 64 }, (): [Extent['kind'], number] => ['hole', grain / 64])
    expect(listOf(grain, parts)).toEqual([{ kind: 'hole', offset: 0, length: grain }])
  })

  test('never holds more than it may: then only longer ranges count', () => {
    const parts = Array.from({ length: 100 }, (_, index): [Extent['kind'], number] => [
      index % 2 === 0 ? 'hole' : 'data',
      index < 90 ? grain : 8 * grain,
    ])
    const extents = listOf(170 * grain, parts, 20)
    expect(extents.length).toBeLessThanOrEqual(20)
    expect(extents.filter(({ kind }) => kind === 'hole').every(({ length }) => length === 8 * grain)).toBe(
      true,
    )
  })

  test('is nothing for a volume of nothing', () => {
    expect(new ExtentList(0).finish()).toEqual([])
    expect(allData(0)).toEqual([])
    expect(allData(5)).toEqual([{ kind: 'data', offset: 0, length: 5 }])
  })

  test.each([-1, 0.5, Number.NaN, 9])('refuses a range that ends at %d', end => {
    const list = new ExtentList(100)
    list.add('data', 10)
    expect(() => list.add('hole', end)).toThrowError(/ends at/)
  })
})
