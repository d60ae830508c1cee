import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from '../../src/crypto/digest.ts'
import { BlobIds } from '../../src/repository/blob-ids.ts'
import { BlobTable } from '../../src/repository/blob-table.ts'

const idOf = (number: number) => sha256(Buffer.from(String(number)))
const digest = (number: number) => Buffer.from(idOf(number)).toString('hex') as never

test('knows 100 000 blobs, and no others', () => {
  const table = new BlobTable()
  const pack = table.addPack(digest(-1))
  for (let number = 0; number < 100_000; number++) {
    const entry = table.claim('data', idOf(number))
    table.place(entry, { pack, offset: number, length: number + 32, uncompressedLength: number % 3 })
  }
  expect(table.size).toBe(100_000)
  for (let number = 0; number < 100_000; number += 997) {
    const entry = table.find('data', idOf(number))
    expect(entry).toBe(number)
    expect(table.location(entry)).toEqual({
      pack,
      offset: number,
      length: number + 32,
      uncompressedLength: number % 3,
    })
    expect(table.id(entry)).toEqual(idOf(number))
    expect(table.find('tree', idOf(number))).toBe(-1)
    expect(table.find('data', idOf(-number - 2))).toBe(-1)
  }
  expect(table.packId(pack)).toBe(digest(-1))
})

test('behaves as a Map, also with ids that begin alike', () => {
  const id = fc.tuple(fc.constantFrom(0, 1, 0xffffffff), fc.nat(3)).map(([first, last]) => {
    const bytes = Buffer.alloc(32)
    bytes.writeUInt32LE(first)
    bytes[31] = last
    return new Uint8Array(bytes)
  })
  fc.assert(
    fc.property(fc.array(fc.tuple(id, fc.constantFrom('data', 'tree')), { maxLength: 60 }), blobs => {
      const table = new BlobTable()
      const model = new Map<string, number>()
      for (const [id, type] of blobs) {
        const name = type + Buffer.from(id).toString('hex')
        expect(table.find(type, id)).toBe(model.get(name) ?? -1)
        if (!model.has(name)) model.set(name, table.claim(type, id))
      }
      expect(table.size).toBe(model.size)
    }),
  )
})

test('a claimed blob has no place, and a pack no id, before they are given', () => {
  const table = new BlobTable()
  const entry = table.claim('tree', idOf(1))
  expect(table.location(entry)).toBeNull()
  expect(table.type(entry)).toBe('tree')
  const pack = table.addPack(null)
  expect(() => table.packId(pack)).toThrow(RangeError)
  table.namePack(pack, digest(5))
  table.place(entry, { pack, offset: 0xffffffff, length: 0xfffffffe, uncompressedLength: 0 })
  expect(table.location(entry)).toEqual({
    pack,
    offset: 0xffffffff,
    length: 0xfffffffe,
    uncompressedLength: 0,
  })
  expect(table.type(entry)).toBe('tree')
  expect(() => table.location(1)).toThrow(RangeError)
})

test('a list of ids keeps their order', () => {
  const ids = new BlobIds()
  for (let number = 0; number < 1000; number++) ids.push(idOf(number))
  expect(ids.length).toBe(1000)
  expect([...ids].map((id, index) => Buffer.compare(id, idOf(index)))).toEqual(new Array(1000).fill(0))
  expect(() => ids.at(1000)).toThrow(RangeError)
})
