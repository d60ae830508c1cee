import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { is, parseJson } from '../../src/base/json.ts'
import { parseDigest } from '../../src/base/names.ts'
import { RecordView } from '../../src/repository/blob-records.ts'
import { packBytesMax } from '../../src/repository/format.ts'
import { encodeIndex, type IndexedPack, parseIndex } from '../../src/repository/index.ts'
import { scanIndex } from '../../src/repository/index-scan.ts'
import { checkBlobLengths } from '../../src/repository/pack.ts'
import { knownFields, parseFormat } from '../../src/repository/shape.ts'

/* What `scanIndex` accepts, and what it makes of it, against the general parser of JSON with a shape. */

const u32 = is.integer(0, packBytesMax)
const indexShape = knownFields('index', {
  packs: is.array(
    knownFields('pack', {
      id: is.name(parseDigest),
      blobs: is.array(
        knownFields('blob', {
          id: is.name(parseDigest),
          type: is.literal('data', 'tree'),
          offset: u32,
          length: u32,
          uncompressed_length: is.optional(is.integer(1, packBytesMax)),
        }),
        1_000_000,
      ),
    }),
    200_000,
  ),
})

function parsedTheLongWay(bytes: Uint8Array): readonly IndexedPack[] {
  return parseFormat('an index', () =>
    indexShape(parseJson(bytes, { bytesMax: 1 << 26 })).packs.map(({ id, blobs }) => ({
      id,
      blobs: blobs.map(({ uncompressed_length, ...blob }) => {
        checkBlobLengths(blob.type, blob.length, uncompressed_length ?? 0, uncompressed_length !== undefined)
        return { ...blob, uncompressedLength: uncompressed_length ?? 0 }
      }),
    })),
  )
}

/** The value, or the code of the typed error. */
function outcome(parser: (bytes: Uint8Array) => unknown, bytes: Uint8Array): unknown {
  try {
    return parser(bytes)
  } catch (error) {
    if (error instanceof CodedError) return error.code
    throw error
  }
}

const hex = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map(bytes => Buffer.from(bytes).toString('hex') as IndexedPack['id'])
const blob = fc.record({
  type: fc.constantFrom('data' as const, 'tree' as const),
  id: hex,
  offset: fc.nat(0xffffffff),
  length: fc.integer({ min: 32, max: 8 << 20 }),
  uncompressedLength: fc.nat(8 << 20),
})
const packs = fc.array(fc.record({ id: hex, blobs: fc.array(blob, { maxLength: 4 }) }), { maxLength: 4 })

/** JSON text of the same value, written in some other way. */
function rewritten(text: string, space: string, reverse: boolean, strange: unknown): Uint8Array {
  const shuffle = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffle)
    if (typeof value !== 'object' || value === null) return value
    const entries = Object.entries(value).map(([key, item]) => [key, shuffle(item)])
    return Object.fromEntries([...(reverse ? entries.reverse() : entries), ['strange', strange]])
  }
  const spaced = JSON.stringify(shuffle(JSON.parse(text)), null, space)
  // An escape in a name, in a word and in an id.
  const escaped = reverse
    ? spaced
        .replaceAll('"offset"', '"\\u006fffset"')
        .replaceAll('"data"', '"d\\u0061ta"')
        .replaceAll('"id":"0', '"id":"\\u0030')
    : spaced
  return Buffer.from(escaped)
}

describe('an index', () => {
  test('gives the same, however its JSON is written', () => {
    fc.assert(
      fc.property(
        packs,
        fc.constantFrom('', ' ', '\t', '\r\n'),
        fc.boolean(),
        fc.jsonValue(),
        (value, space, reverse, strange) => {
          const plain = encodeIndex(value)
          expect(parseIndex(plain)).toEqual(value)
          const bytes = rewritten(Buffer.from(plain).toString(), space, reverse, strange)
          expect(parseIndex(bytes)).toEqual(value)
          expect(outcome(parseIndex, bytes)).toEqual(outcome(parsedTheLongWay, bytes))
        },
      ),
    )
  })

  test('with bytes changed, cut out or doubled is accepted and refused as by the general parser', () => {
    const marks = [...'"{}[],:0123456789abcdef\\ -.eEu\n\t'].map(mark => mark.charCodeAt(0))
    fc.assert(
      fc.property(
        packs,
        fc.nat(),
        fc.oneof(fc.constantFrom(...marks), fc.nat(255)),
        fc.constantFrom('change', 'remove', 'insert'),
        (value, where, byte, what) => {
          const bytes = [...encodeIndex(value)]
          bytes.splice(where % bytes.length, what === 'insert' ? 0 : 1, ...(what === 'remove' ? [] : [byte]))
          const damaged = Uint8Array.from(bytes)
          expect(outcome(parseIndex, damaged)).toEqual(outcome(parsedTheLongWay, damaged))
        },
      ),
      { numRuns: 2000 },
    )
  })

  const id = 'ab'.repeat(32)
  const one = `{"id":"${id}","type":"data","offset":0,"length":32}`
  test.each([
    ['nothing', ''],
    ['no object', '[]'],
    ['no packs', '{}'],
    ['packs that are null', '{"packs":null}'],
    ['something behind it', '{"packs":[]}x'],
    ['a comma too many', '{"packs":[],}'],
    ['a name twice', '{"packs":[],"packs":[]}'],
    ['a name twice, once with an escape', '{"packs":[],"pack\\u0073":[]}'],
    ['an unknown name twice', '{"x":1,"x":2,"packs":[]}'],
    ['a duplicate deep in an unknown field', '{"x":{"a":1,"a":2},"packs":[]}'],
    ['a field missing', `{"packs":[{"id":"${id}"}]}`],
    ['an id in upper case', `{"packs":[{"id":"${id.toUpperCase()}","blobs":[]}]}`],
    ['an id that is short', `{"packs":[{"id":"${id.slice(2)}","blobs":[]}]}`],
    ['an id with a byte that is no text', `{"packs":[{"id":"${id.slice(1)}\u0000","blobs":[]}]}`],
    ['a leading zero', `{"packs":[{"id":"${id}","blobs":[${one.replace(':0', ':00')}]}]}`],
    ['a sign', `{"packs":[{"id":"${id}","blobs":[${one.replace(':0', ':+0')}]}]}`],
    ['5 GiB', `{"packs":[{"id":"${id}","blobs":[${one.replace(':0', ':5368709120')}]}]}`],
    ['a word with more behind it', `{"packs":[{"id":"${id}","blobs":[${one.replace('data', 'datax')}]}]}`],
    ['an unknown field that is cut', '{"packs":[],"x":tru'],
    ['brackets that do not match', '{"packs":[],"x":[}'],
    ['an open string', '{"packs":[],"x":"'],
    ['deep nesting', `{"packs":[],"x":${'['.repeat(100)}${']'.repeat(100)}}`],
  ])('with %s is refused', (_, text) => {
    expect(outcome(scanIndex, Buffer.from(text))).toBe('REPOSITORY_FORMAT')
    expect(outcome(parsedTheLongWay, Buffer.from(text))).toBe('REPOSITORY_FORMAT')
  })

  test('that is no UTF-8 is refused', () => {
    const bytes = Buffer.from('{"packs":[],"x":"_"}')
    bytes[bytes.indexOf('_')] = 0xff
    expect(outcome(scanIndex, bytes)).toBe('REPOSITORY_FORMAT')
  })

  test.each(['1e2', '100.0', '1.0E+2'])('numbers may be written as %s', number => {
    const text = `{"packs":[{"id":"${id}","blobs":[${one.replace(':32', `:${number}`)}]}]}`
    expect(parseIndex(Buffer.from(text))[0]?.blobs[0]?.length).toBe(100)
  })

  test('names its packs and which records are whose', () => {
    const text = `{"packs":[{"id":"${id}","blobs":[${one},${one}]},{"blobs":[],"id":"${id}"},{"id":"${id}","blobs":[${one}]}]}`
    const { packs, records } = scanIndex(Buffer.from(text))
    expect(packs.map(({ first, count }) => [first, count])).toEqual([
      [0, 2],
      [2, 0],
      [2, 1],
    ])
    const view = new RecordView(records.bytes())
    expect([0, 1, 2].map(record => view.pack(record))).toEqual([0, 0, 2])
  })
})
