import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseDigest } from '../../src/base/names.ts'
import { parseSlotSet, slotOf, slotSetOf, slotsCount, slotsOf } from '../../src/base/slots.ts'

describe('a set of slots', () => {
  test('is written with slot 0 as the highest bit', () => {
    expect(slotSetOf([])).toBe('0'.repeat(64))
    expect(slotSetOf([0])).toBe(`8${'0'.repeat(63)}`)
    expect(slotSetOf([3, 4])).toBe(`18${'0'.repeat(62)}`)
    expect(slotSetOf([255])).toBe(`${'0'.repeat(63)}1`)
    expect(slotSetOf(Array.from({ length: slotsCount }, (_, slot) => slot))).toBe('f'.repeat(64))
  })

  test('reads as it was written', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(slotsCount - 1)), slots => {
        const set = slotSetOf(slots)
        expect(parseSlotSet(set)).toBe(set)
        expect(slotsOf(set)).toEqual(slots.toSorted((a, b) => a - b))
      }),
    )
  })

  test.each(['', '0'.repeat(63), '0'.repeat(65), 'F'.repeat(64), `${'0'.repeat(63)}g`])('is not %j', text => {
    expect(() => parseSlotSet(text)).toThrow(expect.objectContaining({ code: 'NAME_INVALID' }))
  })
})

test('the slot of a pack is the first byte of its id', () => {
  for (const [digits, slot] of [
    ['00', 0],
    ['0f', 15],
    ['80', 128],
    ['ff', 255],
  ] as const)
    expect(slotOf(parseDigest(`${digits}${'3'.repeat(62)}`))).toBe(slot)
})
