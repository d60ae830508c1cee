import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { OffsetCipher } from '../../src/crypto/offset-cipher.ts'
import { EncryptedWriter } from '../../src/repository/encrypted-file.ts'
import { KeySorter } from '../../src/repository/key-runs.ts'
import { TableFixture } from './table-fixture.ts'

let fixture: TableFixture
beforeAll(async () => {
  fixture = await TableFixture.make()
})
afterAll(() => fixture[Symbol.asyncDispose]())

/** Sorted with so many in memory at once. */
async function sorted(keys: readonly (readonly [number, number])[], keysAtOnce: number): Promise<number[][]> {
  const cipher = OffsetCipher.generate(systemEntropy)
  await using file = await EncryptedWriter.temporary(path.join(fixture.directory, 'runs'), cipher)
  const sorter = new KeySorter(file, keysAtOnce, 100, [])
  for (const [high, low] of keys) if (sorter.add(high, low)) await sorter.spill()
  const merged: number[][] = []
  for await (const block of sorter.merged())
    for (let at = 0; at < block.length; at += 3) merged.push([...block.subarray(at, at + 3)])
  return merged
}

const inOrder = (keys: readonly (readonly [number, number])[]) =>
  keys
    .map(([high, low], number) => [high, low, 100 + number] as const)
    .toSorted((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])

test('keys come out in order, equal ones by number, in however many runs they were sorted', async () => {
  const word = fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(word, word), { maxLength: 40 }),
      fc.integer({ min: 1, max: 50 }),
      async (keys, keysAtOnce) => {
        expect(await sorted(keys, keysAtOnce)).toEqual(inOrder(keys))
      },
    ),
  )
})

test('runs of several blocks are merged too', async () => {
  const keys = Array.from({ length: 10_000 }, (_, number) => {
    const high = Math.imul(number, 0x9e3779b1) >>> 0
    return [high % 5000, high] as const
  })
  expect(await sorted(keys, 3000)).toEqual(inOrder(keys))
})
