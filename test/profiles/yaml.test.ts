import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { parseWholeYaml, parseYaml } from '../../src/profiles/yaml.ts'
import type { YamlNode } from '../../src/profiles/yaml-node.ts'
import { parsePlainYaml } from '../../src/profiles/yaml-plain.ts'
import { booleanOfScalar } from '../../src/profiles/yaml-scalar.ts'
import { vectors } from './make.ts'

interface Vector {
  readonly text: string
  readonly value?: unknown
  readonly error?: string
}
const rows = vectors<Vector>('profile/pyyaml-6.json')

/** What PyYAML reads and we do not, always with an error and never with another meaning. */
const stricter = new Set([
  '? a\n: b\n',
  '=: a\n',
  'yes: a\n',
  '12: a\n',
  'a: ! 12\n',
  'a: b\rc: d\n',
  'a: b\u0085c: d\n',
  'a: b\u2028c: d\n',
  'a: "b\tc"\n',
  'a: b\na: c\n',
  'a: !!binary aGk=\n',
  'a: !!set {b}\n',
  'a: !!timestamp 2026-01-01\n',
  'a: [\nb\n]\n',
  "a: 'b'# c\n",
])

test('PyYAML and this parser see the same in a file, or this one refuses it', () => {
  for (const { text, value, error } of rows) {
    const found = read(text)
    if (stricter.has(text)) expect(found, text).toBe('refused')
    // A lone `=` is a value of no type; every reader of fields refuses it.
    else if (error !== undefined && text !== 'a: =\n') expect(found, text).toBe('refused')
    else if (error === undefined) expect(comparable(found), text).toEqual(comparable(value))
  }
})

test('the rows that differ are rows', () => {
  for (const text of stricter)
    expect(rows.some(row => row.text === text && row.error === undefined)).toBe(true)
})

describe('the short cut for plain files', () => {
  const texts = [
    ...rows.map(({ text }) => text),
    ...['accepted', 'refused']
      .flatMap(name => vectors<Vector>(`profile/${name}.json`))
      .map(({ text }) => text),
  ]

  test('is taken by an ordinary profile', () => {
    const tree = parsePlainYaml(`# nightly
include: [ "@tag:backup", work ]   # both
exclude:
- untrusted
- 'mail'

destination_vm: sys-store
compression: yes
strongroom:
    limits: { orders_per_day: 4, minutes_between: 60 }   # each
    retention:
      keep_last: 3
    volumes:
      - private
`)
    expect(tree?.entries.map(({ key }) => key)).toEqual([
      'include',
      'exclude',
      'destination_vm',
      'compression',
      'strongroom',
    ])
    expect(texts.filter(text => parsePlainYaml(text) !== null).length).toBeGreaterThan(60)
  })

  test('sees what the whole parser sees, to the column', () => {
    for (const text of texts) {
      const plain = parsePlainYaml(text)
      if (plain !== null) expect(plain, text).toEqual(parseWholeYaml(text))
    }
  })

  test('sees the same in texts made of the pieces that it knows', () => {
    const mostly = (usual: string, odd: string) =>
      fc.oneof(
        { weight: 9, arbitrary: fc.constantFrom(...usual.split('|')) },
        { weight: 1, arbitrary: fc.constantFrom(...odd.split('|')) },
      )
    const indent = mostly('|  ', ' |    ')
    const start = mostly('a: |b_c: |d:|e: |f: |- ', "on: |'k': ||-|? |<<: |a:")
    const value = mostly(
      `x|12|yes||"x y"|'z'|''|/p/q|u-v@w|[]|[ a, "b" ]|[a,b,]|{ a: b }|{}|{a: 1, b_c: "x", d: [e, 'f']}|{ a: b, }`,
      `1:30|~|null|@t|x: y|"|[ , ]|[a|[[a]]|[a: b]|[ 'a''b' ]|{a:b}|{ a: b, a: c }|{ on: b }|{ a: { b: c } }|{ a }|{ a: , b: c }|{ a: b c }|{ a : b }|{ , }|{ a: b|{ 'a': b }|[ a: b, c ]|{a: x#y}|{ a: b # c }|>|&x a|*x|#|x#`,
    )
    const end = mostly('| | # c', '# c| #| x|:|,')
    const text = fc
      .array(fc.tuple(indent, start, value, end), { minLength: 1, maxLength: 5 })
      .map(lines => lines.map(parts => parts.join('')).join('\n'))
    let taken = 0
    fc.assert(
      fc.property(text, source => {
        const plain = parsePlainYaml(source)
        if (plain === null) return
        taken += 1
        expect(plain, JSON.stringify(source)).toEqual(parseWholeYaml(source))
      }),
      { numRuns: 20_000, seed: 20261124 },
    )
    expect(taken).toBeGreaterThan(200)
  })
})

function read(text: string): unknown {
  try {
    return plainOf(parseYaml(utf8(text)))
  } catch (error) {
    if (error instanceof CodedError) return 'refused'
    throw error
  }
}

function plainOf(node: YamlNode | null): unknown {
  if (node === null) return null
  if (node.kind === 'list') return node.items.map(plainOf)
  if (node.kind === 'mapping') return { mapping: node.entries.map(({ key, value }) => [key, plainOf(value)]) }
  if (node.type === 'text') return node.text
  if (node.type === 'null') return null
  if (node.type === 'boolean') return booleanOfScalar(node.text)
  return node.type === 'date' ? { date: node.text } : { number: node.text }
}

/** Numbers and dates by their type only (they are printed differently), mappings without their order. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable)
  if (typeof value !== 'object' || value === null) return value
  if ('mapping' in value && Array.isArray(value.mapping))
    return new Map(value.mapping.map(([key, item]: [unknown, unknown]) => [key, comparable(item)]))
  return Object.keys(value)
}
