import { once } from 'node:events'
import { copyFile, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import type { IndexedPack } from '../../src/repository/index.ts'
import { IndexTable } from '../../src/repository/index-table.ts'
import { IndexTableReader } from '../../src/repository/index-table-reader.ts'
import { IndexTableWriter } from '../../src/repository/index-table-writer.ts'
import type { PackedBlob } from '../../src/repository/pack.ts'
import { codeOf } from '../support/code-of.ts'
import { never } from './fixtures.ts'
import { bytesOfId, idOf, indexIdOf, type Packs, samplePacks, TableFixture } from './table-fixture.ts'

let fixture: TableFixture
beforeAll(async () => {
  fixture = await TableFixture.make()
})
afterAll(() => fixture[Symbol.asyncDispose]())

const locationOf = ({ offset, length, uncompressedLength }: PackedBlob) => ({
  offset,
  length,
  uncompressedLength,
})

/** Everything that a table says, against a Map and a list. */
async function expectSame(table: IndexTable, indexes: readonly Packs[]): Promise<void> {
  const packs = indexes.flatMap((packs, index) => packs.map(pack => ({ ...pack, index })))
  const first = new Map<string, object>()
  const firstPack = new Map<string, number>()
  const expected = []
  let record = 0
  for (const [number, { id, blobs, index }] of packs.entries()) {
    const lying = blobs.toSorted((a, b) => a.offset - b.offset)
    expected.push({ id, blobs: lying, number, firstRecord: record, index, repeats: firstPack.has(id) })
    if (!firstPack.has(id)) firstPack.set(id, number)
    for (const blob of lying) {
      const name = `${blob.type} ${blob.id}`
      if (!first.has(name)) first.set(name, { record, pack: number, ...locationOf(blob) })
      record += 1
    }
  }
  expect(table.counts).toEqual({
    records: record,
    packs: packs.length,
    indexes: indexes.length,
    repeatedRecords: record - first.size,
    repeatedPacks: packs.length - firstPack.size,
  })
  expect(table.indexes).toEqual(indexes.map((_, number) => indexIdOf(number)))
  expect(await Array.fromAsync(table.packs())).toEqual(expected)
  const ids = new Set(packs.flatMap(({ blobs }) => blobs.map(({ id }) => id)))
  for (const type of ['data', 'tree'] as const) {
    const found = [...ids].map(id => table.reader.find(type, bytesOfId(id)))
    expect(found).toEqual([...ids].map(id => first.get(`${type} ${id}`) ?? null))
  }
  const { reader } = table
  expect(packs.map((_, number) => reader.packId(number))).toEqual(packs.map(({ id }) => id))
  expect(packs.map((_, number) => reader.pack(number))).toEqual(expected)
  expect(packs.map(({ id }) => reader.findPack(bytesOfId(id)))).toEqual(
    packs.map(({ id }) => firstPack.get(id)),
  )
  for (const text of ['no', 'such', 'blob']) {
    expect(reader.find('data', bytesOfId(idOf(text)))).toBeNull()
    expect(reader.findPack(bytesOfId(idOf(text)))).toBe(-1)
  }
}

const bodyOf = (table: IndexTable) => table.file.read(0, table.layout.bodyBytes)

/** Few different ids, many of which begin alike: for 4, 8 or 31 bytes. */
const id = fc
  .tuple(fc.constantFrom(0, 4, 8, 31), fc.nat(5), fc.constantFrom(0, 0xff))
  .map(([same, number, fill]) => {
    const bytes = bytesOfId(idOf(String(number)))
    bytes.fill(fill, 0, same)
    return Buffer.from(bytes).toString('hex') as IndexedPack['id']
  })
const blob = fc.record({
  type: fc.constantFrom('data' as const, 'tree' as const),
  id,
  offset: fc.nat(0xffffffff),
  length: fc.integer({ min: 32, max: 8 << 20 }),
  uncompressedLength: fc.nat(8 << 20),
})
const indexes = fc.array(
  fc.array(fc.record({ id, blobs: fc.array(blob, { maxLength: 12 }) }), { maxLength: 6 }),
  { maxLength: 5 },
)

describe('a table', () => {
  test('says what a Map says of any index objects, and the same when it was extended', async () => {
    await fc.assert(
      fc.asyncProperty(indexes, fc.nat(5), async (indexes, part) => {
        await using whole = await fixture.write(indexes)
        await expectSame(whole, indexes)
        await using base = await fixture.write(indexes.slice(0, part))
        await using extended = await fixture.write(indexes.slice(part), base)
        await expectSame(extended, indexes)
        expect((await bodyOf(extended)).equals(await bodyOf(whole))).toBe(true)
      }),
      { numRuns: 40 },
    )
  })

  test('of many pages knows all its blobs and packs', async () => {
    const indexes = ['a', 'b', 'c'].map(name => samplePacks(name, 100, 30))
    await using table = await fixture.write(indexes)
    await expectSame(table, indexes)
    await using base = await fixture.write(indexes.slice(0, 2))
    await using same = await fixture.write(indexes.slice(2), base)
    expect((await bodyOf(same)).equals(await bodyOf(table))).toBe(true)
  })

  test('of which all ids begin alike for many pages is as good', async () => {
    const alike = (id: string) => `${'5a'.repeat(8)}${id.slice(16)}` as IndexedPack['id']
    const indexes = [
      samplePacks('alike', 20, 30).map(pack => ({
        id: alike(pack.id),
        blobs: pack.blobs.map(blob => ({ ...blob, id: alike(blob.id) })),
      })),
    ]
    await using table = await fixture.write(indexes)
    await expectSame(table, indexes)
    expect(table.reader.find('data', bytesOfId(alike(idOf('other'))))).toBeNull()
  })

  test.each([
    ['no index objects', []],
    ['an empty index object', [[]]],
    ['an empty pack', [[{ id: idOf('empty'), blobs: [] }]]],
    ['one blob', [samplePacks('one', 1, 1)]],
  ])('of %s is one too', async (_, indexes: readonly Packs[]) => {
    await using table = await fixture.write(indexes)
    await expectSame(table, indexes)
    await using extended = await fixture.write([], table)
    await expectSame(extended, indexes)
  })

  test('tells of no blob that is not there, and rarely has to look', async () => {
    await using table = await fixture.write([samplePacks('filter', 50, 100)])
    const share = table.share()
    // All pages are out of reach: whoever has to look throws.
    await using nowhere = await fixture.write([], null, path.join(fixture.directory, 'nowhere'))
    const blind = new IndexTableReader({ ...share, fd: nowhere.share().fd })
    let looked = 0
    for (let number = 0; number < 20_000; number++) {
      let found = null
      try {
        found = blind.find('data', bytesOfId(idOf(`unknown ${number}`)))
      } catch {
        looked += 1
      }
      expect(found).toBeNull()
    }
    expect(looked).toBeLessThan(0.015 * 20_000)
    expect(() => blind.find('data', bytesOfId(idOf('filter 0 1')))).toThrow()
  })

  test('is asked from other threads, for as long as it is open', async () => {
    const indexes = [samplePacks('threads', 40, 30)]
    const table = await fixture.write(indexes)
    const ids = indexes[0]?.flatMap(({ blobs }) => blobs.map(({ id }) => bytesOfId(id))) ?? []
    const expected = ids.map(id => table.reader.find('data', id))
    expect(expected.filter(found => found !== null)).toHaveLength(1000)
    const script = new URL('./table-thread.ts', import.meta.url)
    const answers = [1, 2].map(async () => {
      const thread = new Worker(script, { workerData: { share: table.share(), ids } })
      const [found] = await once(thread, 'message')
      await thread.terminate()
      return found
    })
    expect(await Promise.all(answers)).toEqual([expected, expected])
    await table[Symbol.asyncDispose]()
    expect(() => ids.map(id => table.reader.find('data', id))).toThrow(RangeError)
  })

  test('holds neither ids nor lengths that could be read without the key', async () => {
    const packs = samplePacks('secret', 3, 10)
    await using _ = await fixture.write([packs])
    const stored = await readFile(fixture.path)
    for (const { id, blobs } of packs)
      for (const each of [id, ...blobs.map(({ id }) => id)])
        for (const part of [each.slice(0, 16), each.slice(-16)])
          expect(stored.includes(Buffer.from(part, 'hex'))).toBe(false)
    expect((await stat(fixture.path)).mode & 0o777).toBe(0o600)
    expect(await readdir(fixture.directory)).not.toContain('blobs.new')
  })
})

describe('what is not the table that was written', () => {
  let original: Buffer
  let changed: string
  beforeAll(async () => {
    await using table = await fixture.write([samplePacks('damage', 6, 20), samplePacks('more', 3, 20)])
    expect(table.layout.bodyBytes).toBeGreaterThan(11_000)
    original = await readFile(fixture.path)
    changed = path.join(fixture.directory, 'changed')
  })
  const codeOfChanged = async (bytes: Uint8Array) => {
    await writeFile(changed, bytes)
    return codeOf(async () => {
      await using _ = await IndexTable.open(changed, fixture.key, never)
    })
  }

  test('is refused when any bit is another', async () => {
    expect(await codeOfChanged(original)).toBe('ok')
    for (let at = 0; at < original.byteLength; at += at < original.byteLength - 150 ? 37 : 1) {
      const bytes = Buffer.from(original)
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
      expect(await codeOfChanged(bytes), `byte ${at}`).toBe('INDEX_TABLE_DAMAGED')
    }
  })

  test.each([
    ['empty', (bytes: Buffer) => bytes.subarray(0, 0)],
    ['shorter', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['only its end', (bytes: Buffer) => bytes.subarray(-132)],
    ['without its beginning', (bytes: Buffer) => bytes.subarray(16)],
    ['longer', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)])],
    ['longer at its beginning', (bytes: Buffer) => Buffer.concat([Buffer.alloc(16), bytes])],
    ['zeros', (bytes: Buffer) => Buffer.alloc(bytes.byteLength)],
    ['a sealed object of the repository', () => fixture.key.seal(Buffer.alloc(100), systemEntropy)],
  ])('is refused when it is %s', async (_, change) => {
    expect(await codeOfChanged(change(original))).toBe('INDEX_TABLE_DAMAGED')
  })

  test('is refused when it is that of another repository, or a directory', async () => {
    using other = RepositoryKey.generate(systemEntropy)
    expect(await codeOf(() => IndexTable.open(fixture.path, other, never))).toBe('INDEX_TABLE_DAMAGED')
    const directory = path.join(fixture.directory, 'directory')
    await mkdir(directory)
    expect(await codeOf(() => IndexTable.open(directory, fixture.key, never))).toBe('INDEX_TABLE_DAMAGED')
  })

  test('is not followed through a link, and nothing is nothing', async () => {
    const link = path.join(fixture.directory, 'link')
    await symlink(fixture.path, link)
    expect(await codeOf(() => IndexTable.open(link, fixture.key, never))).toBe('INDEX_TABLE_DAMAGED')
    expect(await IndexTable.open(`${fixture.path}.none`, fixture.key, never)).toBeNull()
  })

  test('that became shorter while it was open is an error, never an answer', async () => {
    const copy = path.join(fixture.directory, 'shrinking')
    await copyFile(fixture.path, copy)
    await using table = await fixture.open(copy)
    await truncate(copy, 100)
    expect(await codeOf(() => table.reader.location(100))).toBe('INDEX_TABLE_DAMAGED')
  })
})

describe('until a table is finished', () => {
  test('there is the one from before, also if the writer ends early', async () => {
    await using before = await fixture.write([samplePacks('before', 2, 5)])
    for (const base of [null, before]) {
      await using writer = await IndexTableWriter.begin(fixture.path, base, systemEntropy)
      expect(await readdir(fixture.directory)).toContain('blobs.new')
      await using same = await fixture.open()
      await expectSame(same, [samplePacks('before', 2, 5)])
      await writer[Symbol.asyncDispose]()
      expect(await readdir(fixture.directory)).not.toContain('blobs.new')
    }
  })

  test('what a crash left is replaced', async () => {
    await writeFile(`${fixture.path}.new`, 'half a table')
    await writeFile(`${fixture.path}.keys`, 'some keys')
    await using table = await fixture.write([samplePacks('after', 2, 5)])
    await expectSame(table, [samplePacks('after', 2, 5)])
    expect((await readdir(fixture.directory)).filter(name => name.startsWith('blobs'))).toEqual(['blobs'])
  })

  test('a directory that is not there is an error', async () => {
    const nowhere = path.join(fixture.directory, 'not/there')
    expect(await codeOf(() => IndexTableWriter.begin(nowhere, null, systemEntropy))).toBe('INDEX_TABLE_WRITE')
  })
})
