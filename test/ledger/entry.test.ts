import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { encodeEntry, parseEntry } from '../../src/ledger/entry.ts'
import { checkedEntry } from './support.ts'

describe('an entry of a check', () => {
  it('reads as it was written', () => {
    for (const entry of [checkedEntry(7), checkedEntry(7, { code: 'CHECK_FAILED' })])
      expect(parseEntry(encodeEntry(entry))).toEqual(entry)
  })

  it.each([
    ['a number of slots that this version does not know', { slotCount: 512 }],
    ['a set of slots that is none', { slots: 'f'.repeat(63) }],
    ['a choice that is none', { read: 'much' }],
    ['no entries', { entries: 0 }],
    ['a field of its own', { extra: 1 }],
  ])('with %s is refused', (_, change) => {
    const text = JSON.stringify({ ...checkedEntry(7), ...change })
    expect(() => parseEntry(utf8(text))).toThrow(expect.objectContaining({ code: 'FIELD_INVALID' }))
  })
})
