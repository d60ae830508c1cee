import { expect, test } from 'vitest'
import { ChunkSet } from '../../src/repository/chunk-set.ts'

test('a set of chunks is packed and unpacked', () => {
  const set = new ChunkSet(21)
  for (const chunk of [0, 7, 8, 20, 20]) set.add(chunk)
  const again = ChunkSet.unpack(set.packed(), 21)
  expect([...(again ?? [])]).toEqual([0, 7, 8, 20])
  expect(again?.size).toBe(4)
  again?.delete(8)
  again?.delete(9)
  expect([...(again ?? [])]).toEqual([0, 7, 20])
  expect(again?.size).toBe(3)
  expect(set.has(8)).toBe(true)
})

test('what is no set of so many chunks is refused', () => {
  expect(ChunkSet.unpack(new Uint8Array(2), 17)).toBeNull()
  expect(ChunkSet.unpack(new Uint8Array(4), 17)).toBeNull()
  expect(ChunkSet.unpack(Uint8Array.of(0, 0, 0x40), 17)).toBeNull()
  expect(ChunkSet.unpack(Uint8Array.of(0, 0, 0x80), 17)?.size).toBe(1)
  expect(() => new ChunkSet(17).add(17)).toThrow(RangeError)
})

test.each([
  [0, 1, [0]],
  [99, 2, [0, 1]],
  [100, 100, [1]],
  [150, 1000, [1, 2, 3]],
])('chunks of 100 with a byte in %i+%i', (offset, length, chunks) => {
  expect([...ChunkSet.within({ offset, length }, 4, 100)]).toEqual(chunks)
})
