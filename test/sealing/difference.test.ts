import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { describeDifference } from '../../src/sealing/difference.ts'

const files = (texts: Record<string, string>) =>
  new Map(Object.entries(texts).map(([name, text]) => [name, utf8(text)]))
const difference = (before: Record<string, string>, after: Record<string, string>) =>
  describeDifference(files(before), files(after))

test('nothing changed', () => {
  expect(difference({ a: 'x\n' }, { a: 'x\n' })).toEqual([])
})

test('files that came, went and changed, line by line', () => {
  const before = { 'profiles/a.conf': 'include:\n- work\npassphrase_vm: vault\n', 'profiles/b.conf': 'x\n' }
  const after = {
    'profiles/a.conf': 'include:\n- work\n- mail\npassphrase_vm: evil\n',
    'profiles/c.conf': 'y\n',
  }
  expect(difference(before, after)).toEqual([
    'changed profiles/a.conf',
    '  - passphrase_vm: vault',
    '  + - mail',
    '  + passphrase_vm: evil',
    'removed profiles/b.conf',
    '  - x',
    'added profiles/c.conf',
    '  + y',
  ])
})

test('lines that stayed between two changes are not shown', () => {
  expect(difference({ a: '1\n2\n3\n' }, { a: 'one\n2\nthree\n' })).toEqual([
    'changed a',
    '  - 1',
    '  + one',
    '  - 3',
    '  + three',
  ])
})

test('a missing line end is a difference', () => {
  expect(difference({ a: 'x\n' }, { a: 'x' })).toEqual(['changed a', '  - x', '  + x (no line end)'])
})

test('an empty file that came is named', () => {
  expect(difference({}, { a: '' })).toEqual(['added a'])
})

test('what is no text is shown by its size and digest', () => {
  const before = new Map([['a', Uint8Array.of(0xff, 0xfe)]])
  const digest = createHash('sha256').update(Uint8Array.of(0xff, 0xfe)).digest('hex')
  expect(describeDifference(before, new Map())).toEqual([
    `removed a: no text, 2 bytes (SHA-256 ${digest}) before, nothing after`,
  ])
})

test.each([
  ['a letter without a shape', '\u3164'],
  ['a pattern of no dots', '\u2800'],
  ['a space of another width', '\u2003'],
  ['a mark that is never drawn', '\u034f'],
])('%s does not look like nothing', (_, character) => {
  expect(difference({ a: 'vm: vault\n' }, { a: `vm: vault${character}\n` })).toEqual([
    'changed a',
    '  - vm: vault',
    '  + vm: vault?',
  ])
})

test('nothing can hide at the end of a long line, or behind control characters', () => {
  const [, line] = difference({}, { a: `#${' '.repeat(5000)}passphrase_vm: evil\u001b[2K\u202e\n` })
  expect(line).toContain('passphrase_vm: evil?[2K?')
})

test('a file with very many changed lines is shown as replaced', () => {
  const many = (prefix: string) => Array.from({ length: 3000 }, (_, index) => `${prefix}${index}\n`).join('')
  expect(difference({ a: many('x') }, { a: many('y') })).toHaveLength(6001)
})

test('the lines shown lead from the old file to the new one', () => {
  const lines = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 12 })
  fc.assert(
    fc.property(lines, lines, (before, after) => {
      const text = (list: string[]) => list.map(line => `${line}\n`).join('')
      const shown = difference({ f: text(before) }, { f: text(after) }).slice(1)
      const count = (list: readonly string[], value: string) => list.filter(one => one === value).length
      for (const line of ['a', 'b', 'c'])
        expect(count(before, line) - count(shown, `  - ${line}`) + count(shown, `  + ${line}`)).toBe(
          count(after, line),
        )
    }),
    { seed: 7 },
  )
})
