import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Extent } from '../../src/host/volumes.ts'
import { isZero, type Run, runsOf } from '../../src/repository/chunker.ts'
import { codeOf } from '../support/code-of.ts'

const chunkBytes = 8

async function* asExtents(extents: readonly Extent[]): AsyncGenerator<Extent> {
  yield* extents
}

async function runs(extents: readonly Extent[], bytes: number): Promise<readonly Run[]> {
  const all: Run[] = []
  for await (const run of runsOf(asExtents(extents), bytes, chunkBytes)) all.push(run)
  return all
}

/** Extents from lengths, which are told as data and hole in turn or at random. */
function extentsOf(parts: readonly (readonly [Extent['kind'], number])[]): {
  extents: Extent[]
  bytes: number
} {
  let bytes = 0
  const extents = parts.map(([kind, length]) => {
    bytes += length
    return { kind, offset: bytes - length, length }
  })
  return { extents, bytes }
}

describe('runs of a volume', () => {
  test('cover it in order, begin at chunks, and are no data only where all of a chunk is not', async () => {
    const part = fc.tuple(fc.constantFrom('data', 'hole', 'unchanged'), fc.nat(40))
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 20 }), async parts => {
        const { extents, bytes } = extentsOf(parts)
        const kindAt = (at: number) =>
          extents.find(({ offset, length }) => at >= offset && at < offset + length)?.kind
        let end = 0
        for (const { kind, offset, length } of await runs(extents, bytes)) {
          expect(offset).toBe(end)
          expect(offset % chunkBytes).toBe(0)
          expect(length).toBeGreaterThan(0)
          end = offset + length
          for (let chunk = offset; chunk < end; chunk += chunkBytes) {
            const chunkEnd = Math.min(chunk + chunkBytes, end)
            const kinds = new Set(Array.from({ length: chunkEnd - chunk }, (_, at) => kindAt(chunk + at)))
            expect(kind).toBe(kinds.size === 1 ? [...kinds][0] : 'data')
          }
        }
        expect(end).toBe(bytes)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    [
      'a gap',
      [
        ['data', 0, 8],
        ['data', 16, 8],
      ],
      24,
    ],
    [
      'an overlap',
      [
        ['data', 0, 8],
        ['data', 4, 20],
      ],
      24,
    ],
    ['an early end', [['data', 0, 8]], 24],
    ['a late end', [['data', 0, 32]], 24],
    ['a negative length', [['hole', 0, -8]], 24],
    ['nothing at all', [], 24],
  ] as const)('%s is refused', async (_, given, bytes) => {
    const extents = given.map(([kind, offset, length]) => ({ kind, offset, length }))
    expect(await codeOf(() => runs(extents, bytes))).toBe('VOLUME_EXTENTS')
  })
})

describe('zeros', () => {
  test('are found, and nothing else is taken for them', () => {
    fc.assert(
      fc.property(fc.nat(5000), fc.nat(), fc.integer({ min: 1, max: 255 }), (length, at, value) => {
        const bytes = new Uint8Array(length)
        expect(isZero(bytes)).toBe(true)
        if (length === 0) return
        bytes[at % length] = value
        expect(isZero(bytes)).toBe(false)
      }),
    )
  })
})
