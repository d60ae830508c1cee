import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { Frontier, leafHash } from '../../src/ledger/merkle.ts'
import {
  edgeRoot,
  emptyEdge,
  encodeBundle,
  encodeTile,
  grow,
  levelsOf,
  parseBundle,
  parseTile,
  supersededTiles,
  tileName,
} from '../../src/ledger/tiles.ts'

const entry = (number: number) => new TextEncoder().encode(`entry ${number}`)
const entries = (count: number, first = 0) => Array.from({ length: count }, (_, at) => entry(first + at))

describe('names of tiles', () => {
  it('has those of the specification', () => {
    expect(tileName(0, 1_234_067, 256)).toBe('tile/0/x001/x234/067')
    expect(tileName('entries', 0, 256)).toBe('tile/entries/000')
    expect(tileName(2, 5, 17)).toBe('tile/2/005.p/17')
    expect(tileName(0, 1000, 1)).toBe('tile/0/x001/000.p/1')
  })
})

describe('growing', () => {
  it('has at 70,000 entries the tiles that the specification counts', () => {
    const { files } = grow(emptyEdge, entries(70_000))
    const names = [...files.keys()]
    const full = (level: string) =>
      names.filter(name => name.startsWith(`tile/${level}/`) && !name.includes('.p/'))
    expect([full('0').length, full('entries').length, full('1').length]).toEqual([273, 273, 1])
    expect(names.filter(name => name.includes('.p/'))).toEqual([
      'tile/0/273.p/112',
      'tile/entries/273.p/112',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ])
  })

  it('has at 256 entries a full tile and one hash above it', () => {
    expect([...grow(emptyEdge, entries(256)).files.keys()]).toEqual([
      'tile/entries/000',
      'tile/0/000',
      'tile/1/000.p/1',
    ])
  })

  it('comes to the same tree in whatever steps, and never writes a file that the tree before has', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 8 }), steps => {
        const frontier = new Frontier()
        const stored = new Map<string, string>()
        let edge = emptyEdge
        for (const count of steps) {
          const added = entries(count, edge.size)
          for (const one of added) frontier.push(leafHash(one))
          const grown = grow(edge, added)
          for (const [name, bytes] of grown.files) {
            expect(stored.has(name)).toBe(false)
            stored.set(name, toHex(bytes))
          }
          edge = grown.edge
          expect(edge.levels.length).toBe(levelsOf(edge.size))
          expect(toHex(edgeRoot(edge))).toBe(toHex(frontier.root()))
        }
      }),
      { numRuns: 30 },
    )
  })

  it('names the partial tiles that nobody needs any more', () => {
    expect(supersededTiles(0, 5)).toEqual([])
    expect(supersededTiles(5, 6)).toEqual(['tile/0/000.p/5', 'tile/entries/000.p/5'])
    expect(supersededTiles(5, 300)).toEqual(['tile/0/000.p', 'tile/entries/000.p'])
    expect(supersededTiles(300, 301)).toEqual(['tile/0/001.p/44', 'tile/entries/001.p/44'])
  })
})

describe('codecs', () => {
  it('reads back what was written', () => {
    const some = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 256 })
    fc.assert(
      fc.property(some, list => {
        expect(parseBundle(encodeBundle(list), list.length)).toEqual(list)
      }),
    )
    const hashes = entries(7).map(leafHash)
    expect(parseTile(encodeTile(hashes), 7)).toEqual(hashes)
  })

  it('refuses a bundle that is cut, too long, or of another width', () => {
    const bytes = encodeBundle(entries(5))
    expect(parseBundle(bytes, 5)).toHaveLength(5)
    for (let length = 0; length < bytes.length; length += 1)
      expect(() => parseBundle(bytes.slice(0, length), 5)).toThrow(CodedError)
    expect(() => parseBundle(bytes, 4)).toThrow(/bytes after/)
    expect(() => parseBundle(bytes, 6)).toThrow(/of 5 entries/)
    expect(() => parseTile(new Uint8Array(33), 1)).toThrow(/33 bytes/)
  })
})
