import { describe, expect, test } from 'vitest'
import { amountText, countText, parseBytes } from '../../src/base/quantities.ts'

describe('numbers of bytes', () => {
  test.each([
    ['1', 1],
    ['500K', 500 * 1024],
    ['50M', 50 * 1024 ** 2],
    ['2G', 2 * 1024 ** 3],
    ['1T', 1024 ** 4],
  ])('%s is read', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes)
  })

  test.each(['', '0', '0M', 'M', '-1', '1.5M', '50m', '50MB', '50 M', '1234567', '5M\n'])(
    '%j is refused',
    text => {
      expect(() => parseBytes(text)).toThrow(expect.objectContaining({ code: 'FIELD_INVALID' }))
    },
  )
})

test('what is one is not many', () => {
  expect([0, 1, 2].map(count => countText(count, 'pack'))).toEqual(['0 packs', '1 pack', '2 packs'])
})

test('an amount tells how much is left, if that is known', () => {
  const MiB = 1024 ** 2
  expect(amountText(30 * MiB, 90 * MiB, 2 * MiB)).toBe('30.0 MiB of 90.0 MiB  2.0 MiB/s  0:30 left')
  expect(amountText(0, 90 * MiB, 0)).toBe('0 B of 90.0 MiB  0 B/s  -:-- left')
})
