import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import readline from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import type { Digest } from '../../src/base/names.ts'
import { sha256 } from '../../src/crypto/digest.ts'
import { encodeIndex, parseIndex } from '../../src/repository/index.ts'
import type { IndexTable } from '../../src/repository/index-table.ts'
import { bringIndexTable } from '../../src/repository/index-table-update.ts'
import { openUnpacked, sealUnpacked } from '../../src/repository/unpacked.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { backup, MiB, never, newRepository, sampleImage, tableOf } from './fixtures.ts'
import { bytesOfId, indexIdOf, samplePacks, TableFixture } from './table-fixture.ts'

let fixture: TableFixture
beforeAll(async () => {
  fixture = await TableFixture.make()
})
afterAll(() => fixture[Symbol.asyncDispose]())

/** Sealed index objects by name, what was fetched of them, and the codes of tables that were refused. */
class Objects {
  readonly bodies = new Map<Digest, Uint8Array>()
  fetched: Digest[] = []
  damaged: string[] = []

  async add(name: string): Promise<Digest> {
    const { id, body } = await sealUnpacked(fixture.key, encodeIndex(samplePacks(name, 3, 20)), systemEntropy)
    this.bodies.set(id, body)
    return id
  }

  async bring(indexes: readonly Digest[], signal = never): Promise<IndexTable> {
    this.fetched = []
    this.damaged = []
    return bringIndexTable(
      fixture.path,
      {
        key: fixture.key,
        entropy: systemEntropy,
        indexes,
        fetchIndex: async id => {
          this.fetched.push(id)
          return this.bodies.get(id) ?? new Uint8Array(0)
        },
        onDamaged: ({ code }) => this.damaged.push(code),
      },
      signal,
    )
  }
}

const knows = (table: IndexTable, name: string) =>
  table.reader.find('data', bytesOfId(samplePacks(name, 1, 2)[0]?.blobs[1]?.id ?? '')) !== null

describe('bringing a table up to date', () => {
  test('opens only what is new, and all of it when something is to go', async () => {
    const objects = new Objects()
    const [a, b, c] = [await objects.add('a'), await objects.add('b'), await objects.add('c')]
    {
      await using table = await objects.bring([a, b])
      expect(objects.fetched).toEqual([a, b])
      expect([knows(table, 'a'), knows(table, 'b'), knows(table, 'c')]).toEqual([true, true, false])
    }
    const stored = await readFile(fixture.path)
    {
      await using table = await objects.bring([b, a])
      expect(objects.fetched).toEqual([])
      expect(table.indexes).toEqual([a, b])
      expect(await readFile(fixture.path)).toEqual(stored)
    }
    {
      await using table = await objects.bring([c, a, b])
      expect(objects.fetched).toEqual([c])
      expect(table.indexes).toEqual([a, b, c])
      expect([knows(table, 'a'), knows(table, 'b'), knows(table, 'c')]).toEqual([true, true, true])
    }
    {
      await using table = await objects.bring([a, c])
      expect(objects.fetched).toEqual([a, c])
      expect([knows(table, 'a'), knows(table, 'b'), knows(table, 'c')]).toEqual([true, false, true])
    }
    await using none = await objects.bring([])
    expect(none.counts.records).toBe(0)
    expect(objects.damaged).toEqual([])
  })

  test('makes a damaged one again, and says so', async () => {
    const objects = new Objects()
    const a = await objects.add('a')
    await (await objects.bring([a]))[Symbol.asyncDispose]()
    const bytes = await readFile(fixture.path)
    bytes[40] = (bytes[40] ?? 0) ^ 1
    await writeFile(fixture.path, bytes)
    await using table = await objects.bring([a])
    expect(objects.damaged).toEqual(['INDEX_TABLE_DAMAGED'])
    expect(objects.fetched).toEqual([a])
    expect(knows(table, 'a')).toBe(true)
  })

  test('leaves the one from before when an index does not open, is none, or the work is aborted', async () => {
    const objects = new Objects()
    const [a, b] = [await objects.add('a'), await objects.add('b')]
    await (await objects.bring([a]))[Symbol.asyncDispose]()
    const before = await readFile(fixture.path)
    const changed = Buffer.from(objects.bodies.get(b) ?? '')
    changed[20] = (changed[20] ?? 0) ^ 1
    objects.bodies.set(b, changed)
    expect(await codeOf(() => objects.bring([a, b]))).toBe('MAC_WRONG')
    objects.bodies.set(b, fixture.key.seal(Buffer.from('{"tree":"x"}'), systemEntropy))
    expect(await codeOf(() => objects.bring([a, b]))).toBe('REPOSITORY_FORMAT')
    const reason = new Error('enough')
    await expect(objects.bring([a, b], AbortSignal.abort(reason))).rejects.toBe(reason)
    expect(await readFile(fixture.path)).toEqual(before)
    expect((await readdir(fixture.directory)).filter(name => name.startsWith('blobs'))).toEqual(['blobs'])
  })

  test('knows of a real repository what its indexes say', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const volumes = { root: sampleImage(3 * MiB), private: sampleImage(2 * MiB, 2) }
    const { index } = await backup(created, store, [{ name: 'work', volumes }])
    await using table = await tableOf(created, { index })
    const packs = []
    for (const { body } of index)
      packs.push(...parseIndex(await openUnpacked(created.repository.key, body, 64 * MiB)))
    const inTable = (await Array.fromAsync(table.packs())).map(({ id, blobs }) => ({ id, blobs }))
    expect(inTable).toEqual(packs)
    const blobs = packs.flatMap(({ id: pack, blobs }) => blobs.map(blob => ({ pack, ...blob })))
    expect(blobs.length).toBeGreaterThan(10)
    expect(table.counts.records).toBe(blobs.length)
    for (const { pack, type, id, ...place } of blobs) {
      const found = table.reader.find(type, bytesOfId(id))
      expect(found).toMatchObject(place)
      expect(table.reader.packId(found?.pack ?? -1)).toBe(pack)
    }
    expect(table.reader.find('data', sha256(Buffer.from('never stored')))).toBeNull()
  })
})

describe('a process that replaces a table', () => {
  const script = new URL('./table-child.ts', import.meta.url).pathname
  const keyHex = () => fixture.key.expose(bytes => Buffer.from(bytes).toString('hex'))

  test.each([1, 2, 5])('is killed after table %i: there is that one or a later one', async last => {
    const file = path.join(fixture.directory, `killed-${last}`)
    const child = spawn(process.execPath, [script, file, keyHex()], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    let written = 0
    for await (const line of readline.createInterface({ input: child.stdout })) {
      written = Number(line)
      if (written === last) child.kill('SIGKILL')
    }
    expect(await ended).toEqual([null, 'SIGKILL'])
    await using table = await fixture.open(file)
    const count = table.indexes.length
    expect(count).toBeGreaterThanOrEqual(written)
    expect(table.indexes).toEqual(Array.from({ length: count }, (_, number) => indexIdOf(number)))
    for (let number = 0; number < count; number++) expect(knows(table, String(number))).toBe(true)
    expect(knows(table, String(count))).toBe(false)
    await using next = await fixture.write([samplePacks(String(count), 1, 2)], table, file)
    expect(knows(next, String(count))).toBe(true)
  })

  test('cannot write more: there is the last one that was whole, and no rest of another', async () => {
    const file = path.join(fixture.directory, 'limited')
    const limited = `ulimit -f 400; exec "$0" "$@"`
    const { stdout } = spawnSync('sh', ['-c', limited, process.execPath, script, file, keyHex()], {
      encoding: 'utf8',
    })
    const lines = stdout.trim().split('\n')
    expect(lines.at(-1)).toBe('INDEX_TABLE_WRITE')
    expect(lines.length).toBeGreaterThan(1)
    await using table = await fixture.open(file)
    expect(table.indexes).toHaveLength(Number(lines.at(-2)))
    expect((await readdir(fixture.directory)).filter(name => name.startsWith('limited'))).toEqual(['limited'])
  })
})
