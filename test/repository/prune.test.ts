import { beforeEach, describe, expect, test, vi } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import { checkRepository } from '../../src/repository/check.ts'
import { openIndex } from '../../src/repository/index.ts'
import { readPackHeader } from '../../src/repository/pack.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { packsOfFate, type Rewritten, rewrite } from '../../src/repository/prune.ts'
import {
  type IndexSource,
  type PrunePlan,
  type PruneSource,
  planPrune,
} from '../../src/repository/prune-plan.ts'
import { readEverything } from '../../src/repository/read-cycle.ts'
import { fetchIndexTable } from '../../src/repository/reader.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import type { BackupResult } from '../../src/repository/writer.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { type ObjectName, objectName } from '../../src/storage/object-store.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import {
  backup,
  expectedOf,
  KiB,
  keptOpen,
  MiB,
  never,
  newRepository,
  sampleImage,
  tableOf,
  tablePlace,
} from './fixtures.ts'

/* Many jobs, on a machine that may have others to do. */
vi.setConfig({ testTimeout: 120_000 })

let store: MemoryStore
let created: CreatedRepository
let results: BackupResult[]

/** Three days of a volume of which each day another part is new, and of one that never changes. */
beforeEach(async () => {
  store = new MemoryStore({ appendOnly: false })
  created = await newRepository(store)
  results = []
  const image = sampleImage(6 * MiB)
  const vault = { name: 'vault', volumes: { private: sampleImage(MiB, 5) } }
  for (const day of [1, 2, 3]) {
    image.set(systemEnvironment.entropy.bytes(2 * MiB - day * 256 * KiB), (day % 2) * 512 * KiB)
    const known = await tableOf(created, ...results)
    results.push(await backup(created, store, [{ name: 'work', volumes: { private: image } }, vault], known))
  }
  return () => created.repository[Symbol.dispose]()
})

const day = (number: number): BackupResult => {
  const result = results[number - 1]
  if (result === undefined) throw new Error('no such day')
  return result
}

async function source(
  sets: readonly IndexSource[] = results.map(({ index }, entry) => ({ entry, index })),
): Promise<PruneSource> {
  const { repository } = created
  const indexes = sets.flatMap(({ index }) => index.map(({ id }) => id))
  const table = await fetchIndexTable(repository, store, indexes, tablePlace(), never)
  return { repository, store, indexSets: sets, table: keptOpen(table) }
}

const keepingIds = (...days: number[]) => days.map(one => day(one).snapshot.id)

async function plan(...days: number[]): Promise<PrunePlan> {
  return planPrune(await source(), keepingIds(...days), never)
}

async function rewritten(planned: PrunePlan, to = store): Promise<Rewritten> {
  return rewrite(await source(), planned, to, systemEnvironment.entropy, () => {}, never)
}

/** As the engine does: first snapshots, then index, then packs. */
async function removeAll(planned: PrunePlan, done: Rewritten, days: readonly number[]): Promise<void> {
  for (const one of days) store.objects.delete(objectName('snapshots', day(one).snapshot.id))
  for (const { id } of [...planned.replaced.flatMap(({ index }) => index), ...planned.unnamedIndex])
    store.objects.delete(objectName('index', id))
  for (const { id } of [...done.dropped, ...planned.unnamedPacks])
    store.objects.delete(objectName('data', id))
}

async function checkAfter(planned: PrunePlan, done: Rewritten, days: readonly number[]) {
  const staying = results
    .map((result, entry) => ({ entry, result }))
    .filter(({ entry }) => !planned.replaced.some(set => set.entry === entry))
  const expected = {
    ...expectedOf(created, ...days.map(day)),
    indexSets: [
      ...staying.map(({ result }) => ({ index: result.index, packs: result.packsSummary })),
      { index: done.index, packs: summarisePacks(done.index.flatMap(({ packs }) => packs)) },
    ],
  }
  return checkRepository(
    created.repository,
    store,
    expected,
    { reading: readEverything, ...tablePlace() },
    () => {},
    never,
  )
}

describe('a prune', () => {
  test.each([[[3]], [[2, 3]], [[1, 3]], [[1]]])(
    'that keeps the days %j leaves them whole, and nothing else',
    async days => {
      const planned = await plan(...days)
      const done = await rewritten(planned)
      const before = await checkAfter(planned, done, days)
      expect(before).toMatchObject({ sound: true })
      await removeAll(
        planned,
        done,
        [1, 2, 3].filter(one => !days.includes(one)),
      )
      expect(await checkAfter(planned, done, days)).toMatchObject({ sound: true, ignored: 0 })
    },
  )

  test('of nothing that is not needed does nothing', async () => {
    const planned = await plan(1, 2, 3)
    expect(planned).toMatchObject({ replaced: [], unnamedIndex: [], unnamedPacks: [] })
    const puts = store.calls.put
    expect(await rewritten(planned)).toMatchObject({ index: [], added: [], dropped: [] })
    expect(store.calls.put).toBe(puts)
  })

  test('is planned the same way each time, and changes nothing by it', async () => {
    const before = [...store.objects.keys()]
    const [one, two] = [await plan(3), await plan(3)]
    for (const part of ['packs', 'fates', 'replaced', 'unnamedPacks'] as const)
      expect(two[part]).toEqual(one[part])
    expect([...store.objects.keys()]).toEqual(before)
    expect(packsOfFate(one, 'remove').length).toBeGreaterThan(0)
    expect(packsOfFate(one, 'rewrite').length).toBeGreaterThan(0)
  })

  test('carries blobs over as they are sealed, and mixes no types', async () => {
    const planned = await plan(3)
    const sealed = new Map<string, string>()
    for (const { id } of packsOfFate(planned, 'rewrite')) {
      const body = store.body(objectName('data', id))
      for (const blob of readPackHeader(created.repository.key, body))
        sealed.set(
          blob.id,
          Buffer.from(body.subarray(blob.offset, blob.offset + blob.length)).toString('hex'),
        )
    }
    const { added } = await rewritten(planned)
    let blobs = 0
    for (const { id, bytes } of added) {
      const body = store.body(objectName('data', id))
      expect(body.byteLength).toBe(bytes)
      const header = readPackHeader(created.repository.key, body)
      expect(new Set(header.map(({ type }) => type)).size).toBe(1)
      for (const blob of header) {
        const copy = Buffer.from(body.subarray(blob.offset, blob.offset + blob.length)).toString('hex')
        expect(copy).toBe(sealed.get(blob.id))
        blobs += 1
      }
    }
    expect(blobs).toBeGreaterThan(3)
  })

  test('has every new pack durable before an index names it', async () => {
    const planned = await plan(3)
    const from = store.journal.length
    const { index } = await rewritten(planned)
    const put = store.journal.slice(from)
    for (const { id, packs } of index) {
      const at = put.indexOf(objectName('index', id))
      for (const pack of packs) expect(put.indexOf(objectName('data', pack.id))).toBeLessThan(at)
    }
    expect(index.length).toBeGreaterThan(0)
  })

  test('keeps one copy of a blob that is in two packs', async () => {
    // Without knowing the first day: everything is stored once more.
    const vms = [{ name: 'work', volumes: { private: sampleImage(MiB, 7) } }]
    const [twice, again] = [await backup(created, store, vms), await backup(created, store, vms)]
    results = [twice, again]
    const planned = await planPrune(await source(), keepingIds(1, 2), never)
    const needed = [...planned.packs.values()].reduce((sum, { neededBytes }) => sum + neededBytes, 0)
    const all = [...planned.packs.values()].reduce((sum, { bytes }) => sum + bytes, 0)
    expect(needed).toBeLessThan(0.6 * all)
    const done = await rewritten(planned)
    await removeAll(planned, done, [])
    expect(await checkAfter(planned, done, [1, 2])).toMatchObject({ sound: true })
  })
})

describe('a storage', () => {
  test('that lists what no index names has it removed, and nothing else', async () => {
    const strangers = [objectName('data', 'ab'.repeat(32)), objectName('index', 'cd'.repeat(32))]
    for (const name of strangers) store.objects.set(name, new Uint8Array(9))
    const planned = await plan(1, 2, 3)
    expect(planned.unnamedPacks).toEqual([{ id: 'ab'.repeat(32), bytes: 9 }])
    expect(planned.unnamedIndex).toEqual([{ id: 'cd'.repeat(32), bytes: 9 }])
    expect(planned.replaced).toEqual([])
  })

  test.each(['snapshots', 'index', 'data'] as const)(
    'that does not list one of %s that is needed stops the prune',
    async kind => {
      const needed = { snapshots: [day(3).snapshot], index: day(3).index, data: day(3).packs }[kind]
      for (const { id } of needed) {
        const hidden = objectName(kind, id)
        const listing = store.list.bind(store)
        store.list = async function* (wanted, signal) {
          for await (const head of listing(wanted, signal)) if (head.name !== hidden) yield head
        }
        expect(await codeOf(() => plan(3))).toBe('NEEDED_MISSING')
        store.list = listing
      }
    },
  )

  test('that lists a needed pack with another size stops the prune', async () => {
    const [pack] = day(3).packs
    const listing = store.list.bind(store)
    store.list = async function* (wanted, signal) {
      for await (const head of listing(wanted, signal))
        yield head.name === `data/${pack?.id}` ? { ...head, bytes: head.bytes - 1 } : head
    }
    expect(await codeOf(() => plan(3))).toBe('NEEDED_MISSING')
  })

  test('that does not list what is not needed does not bother it', async () => {
    const planned = await plan(3)
    const [dead] = packsOfFate(planned, 'remove')
    store.objects.delete(objectName('data', `${dead?.id}`))
    expect(packsOfFate(await plan(3), 'remove')).toEqual(packsOfFate(planned, 'remove'))
  })

  test('cannot slip another pack in when one is rewritten', async () => {
    const planned = await plan(3)
    const [first, second] = [...packsOfFate(planned, 'rewrite'), ...day(1).packs]
    store.faults.served = (name, body) =>
      name === `data/${first?.id}` ? store.body(objectName('data', `${second?.id}`)) : body
    const puts = store.calls.put
    expect(await codeOf(() => rewritten(planned))).toBe('OBJECT_WRONG')
    expect(store.calls.put - puts).toBeLessThanOrEqual(1)
  })

  test('with a snapshot that is another one stops the prune', async () => {
    const older = store.body(objectName('snapshots', day(1).snapshot.id))
    store.faults.served = (name, body) => (name === `snapshots/${day(3).snapshot.id}` ? older : body)
    expect(await codeOf(() => plan(3))).toBe('OBJECT_WRONG')
  })

  test('with a snapshot whose blobs no index names stops the prune', async () => {
    const partial = await source([{ entry: 0, index: day(1).index }])
    expect(await codeOf(() => planPrune(partial, keepingIds(3), never))).toBe('BLOB_MISSING')
  })

  test.each([0, 1])('that is full after %i new packs keeps the others as they are', async room => {
    const planned = await plan(3)
    let packs = 0
    store.faults.before = (operation, name) => {
      if (operation !== 'put' || !name.startsWith('data/')) return
      if (packs++ >= room) throw new StorageError('STORAGE_QUOTA', 'planted')
    }
    const done = await rewritten(planned)
    expect(done.added).toHaveLength(room)
    expect(done.leftForWantOfRoom).toBeGreaterThan(0)
    expect(done.leftForWantOfRoom + done.rewritten.length).toBe(packsOfFate(planned, 'rewrite').length)
    store.faults = {}
    await removeAll(planned, done, [1, 2])
    expect(await checkAfter(planned, done, [3])).toMatchObject({ sound: true, ignored: 0 })
  })

  test('that fails otherwise ends the rewriting, and the old packs are all there', async () => {
    const planned = await plan(3)
    store.faults.before = (operation, name) => {
      if (operation === 'put' && name.startsWith('index/')) throw new StorageError('STORAGE_IO', 'planted')
    }
    expect(await codeOf(() => rewritten(planned))).toBe('STORAGE_IO')
    store.faults = {}
    const expected = expectedOf(created, ...results)
    const report = await checkRepository(
      created.repository,
      store,
      expected,
      { reading: readEverything, ...tablePlace() },
      () => {},
      never,
    )
    expect(report.sound).toBe(true)
    // What was written is what the next plan finds to be named by nothing.
    expect((await plan(3)).unnamedPacks.length).toBe(report.ignored)
  })
})

test('an index is closed when it is full, and a pack is in one of them only', async () => {
  const { IndexWriter } = await import('../../src/repository/index-writer.ts')
  const writer = new IndexWriter(created.repository, store, systemEnvironment.entropy)
  const blob = { type: 'data' as const, offset: 0, length: 100, uncompressedLength: 0 }
  const ids = (count: number) => Array.from({ length: count }, (_, at) => at.toString(16).padStart(64, '0'))
  const [id = ''] = ids(1)
  for (const pack of ids(7))
    await writer.add({ id: parseDigest(pack), blobs: ids(8000).map(one => ({ ...blob, id: one })) }, never)
  const written = await writer.finish(never)
  expect(written.map(({ packs }) => packs.length)).toEqual([6, 1])
  for (const { id: index, packs } of written) {
    const read = await openIndex(created.repository.key, store.body(`index/${index}` as ObjectName))
    expect(read.map(pack => pack.id)).toEqual(packs.map(pack => pack.id))
    expect(read[0]?.blobs[0]?.id).toBe(id)
  }
})
