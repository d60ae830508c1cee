import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LineSearch } from '../../../src/host/local/line-search.ts'

const encoder = new TextEncoder()
const finds = (word: string, ...parts: readonly string[]) => {
  const search = new LineSearch([word])
  for (const part of parts) search.feed(encoder.encode(part))
  return search.hasFound(0)
}

describe('a word is found', () => {
  test.each([
    ['in a line', 'login:', ['Debian GNU/Linux 12 vm ttyS0\r\n\r\nvm login: ']],
    ['that comes in parts', 'all is well', ['all', ' is', ' w', 'ell']],
    [
      'under colours',
      'Reached target Multi-User System',
      ['[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mMulti-User System\x1b[0m.\r\n'],
    ],
    ['after a title', 'ready', ['\x1b]0;title\x07ready', '\x1b]0;title\x1b\\ready']],
    ['after a character set', 'ready', ['\x1b(Bready']],
    ['in a line after a sequence without an end', 'ready', ['\x1b]0;title\r\nready']],
    ['that begins like itself', 'aab', ['aaab']],
    ['in other letters than ASCII', 'läuft', ['es läuft']],
    ['with control characters inside', 'ready', ['re\x00a\x08dy']],
  ])('%s', (_, word, parts) => {
    expect(finds(word, ...parts)).toBe(true)
  })
})

describe('no word is found', () => {
  test.each([
    ['over the end of a line', 'all is well', ['all is\n well']],
    ['over the beginning of a line', 'all is well', ['all is\r well']],
    ['in a title', 'ready', ['\x1b]0;ready\x07']],
    ['in part', 'ready', ['read', 'read']],
  ])('%s', (_, word, parts) => {
    expect(finds(word, ...parts)).toBe(false)
  })
})

test('an empty word, which everything contains, is refused', () => {
  expect(() => new LineSearch(['word', ''])).toThrow(RangeError)
})

test('words are found where a plain search finds them, however they are cut', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 6 })
  const line = fc.string({ unit: fc.constantFrom('a', 'b', '\n'), maxLength: 60 })
  fc.assert(
    fc.property(fc.array(letters, { minLength: 1, maxLength: 3 }), line, fc.nat(60), (words, text, cut) => {
      const search = new LineSearch(words)
      search.feed(encoder.encode(text.slice(0, cut)))
      search.feed(encoder.encode(text.slice(cut)))
      for (const [index, word] of words.entries()) expect(search.hasFound(index)).toBe(text.includes(word))
    }),
    { numRuns: 300 },
  )
})
