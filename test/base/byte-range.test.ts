import { describe, expect, test } from 'vitest'
import { byteRangeText, parseByteRange, within } from '../../src/base/byte-range.ts'

describe('a range', () => {
  test.each([
    ['0+1', 0, 1],
    ['4096+512', 4096, 512],
    ['1GiB+64MiB', 1024 ** 3, 64 * 1024 ** 2],
    ['0+1TiB', 0, 1024 ** 4],
    ['8KiB+100', 8192, 100],
  ])('%s is read, and written in bytes', (text, offset, length) => {
    const range = parseByteRange(text)
    expect(range).toEqual({ offset, length })
    expect(parseByteRange(byteRangeText(range))).toEqual(range)
  })

  test.each([
    ...['', '+', '1', '1+', '+1', '1+0', '1-2', '1+2+3', '-1+2', '1.5GiB+1', '1gib+1', '1G+1', '1 + 2'],
    ...['9007199254740991+1', '9999999999999999TiB+1', '1+1\n', '0x10+1'],
  ])('%j is refused', text => {
    expect(() => parseByteRange(text)).toThrow(expect.objectContaining({ code: 'FIELD_INVALID' }))
  })
})

test.each([
  [0, [10, 11, 12, 13, 14]],
  [8, [2, 3, 4, 5, 6]],
  [12, [0, 1, 2]],
  [15, []],
  [100, []],
])('of bytes at %i those within 10+5 are cut out', (at, cut) => {
  const bytes = Uint8Array.from({ length: 20 }, (_, index) => index)
  expect([...within({ offset: 10, length: 5 }, bytes, at)]).toEqual(cut)
})

test('of bytes that end before the range nothing is cut out', () => {
  expect(within({ offset: 10, length: 5 }, new Uint8Array(10), 0).byteLength).toBe(0)
})
