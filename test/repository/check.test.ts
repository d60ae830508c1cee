import { beforeEach, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { slotOf, slotsOf } from '../../src/base/slots.ts'
import { checkRepository, type Expected } from '../../src/repository/check.ts'
import type { CheckProgress } from '../../src/repository/check-packs.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { type ReadingPlan, readEverything, readNothing } from '../../src/repository/read-cycle.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import { sealUnpacked } from '../../src/repository/unpacked.ts'
import type { BackupResult } from '../../src/repository/writer.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { objectName, parseObjectName } from '../../src/storage/object-store.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import {
  backup,
  expectedOf,
  MiB,
  never,
  newRepository,
  sampleImage,
  tableOf,
  tablePlace,
} from './fixtures.ts'

let store: MemoryStore
let created: CreatedRepository
let one: BackupResult
let two: BackupResult
let expected: Expected

beforeEach(async () => {
  store = new MemoryStore()
  created = await newRepository(store)
  const image = sampleImage(4 * MiB)
  one = await backup(created, store, [{ name: 'work', volumes: { root: image } }])
  image.fill(7, MiB, MiB + 100)
  const known = await tableOf(created, one)
  two = await backup(created, store, [{ name: 'work', volumes: { root: image } }], known)
  expected = expectedOf(created, one, two)
  return () => created[Symbol.dispose]()
})

const check = (readData: boolean, what = expected) => checkWith(readData ? readEverything : readNothing, what)
const checkWith = (reading: ReadingPlan, what = expected) =>
  checkRepository(created.repository, store, what, { reading, ...tablePlace() }, () => {}, never)

const largest = (result: BackupResult) => {
  const pack = result.packs.toSorted((a, b) => b.bytes - a.bytes)[0]
  if (pack === undefined) throw new Error('no pack')
  return objectName('data', pack.id)
}

describe.each([false, true])('a check that reads the data: %s', readData => {
  test('tells how much of what it reads is done', async () => {
    const told: CheckProgress[] = []
    const reading = readData ? readEverything : readNothing
    const onProgress = (progress: CheckProgress) => void told.push(progress)
    await checkRepository(
      created.repository,
      store,
      expected,
      { reading, ...tablePlace() },
      onProgress,
      never,
    )
    const packs = [...one.packs, ...two.packs]
    expect(told).toHaveLength(packs.length)
    expect(told.at(-1)?.bytesDone).toBe(told[0]?.bytesTotal)
    const stored = packs.reduce((sum, { bytes }) => sum + bytes, 0)
    if (readData) expect(told[0]?.bytesTotal).toBe(stored)
    else expect(told[0]?.bytesTotal).toBeLessThan(stored / 10)
  })

  test('finds nothing wrong with what was backed up', async () => {
    const report = await check(readData)
    expect(report).toMatchObject({ sound: true, errors: [], errorCount: 0, ignored: 0 })
    expect(report.objects).toBe(store.objects.size)
    const packs = summarisePacks(readData ? [...one.packs, ...two.packs] : [])
    expect(report.proven).toEqual({ slots: (readData ? 'f' : '0').repeat(64), packs })
  })

  test('finds what is gone, and names it', async () => {
    store.objects.delete(objectName('snapshots', two.snapshot.id))
    store.objects.delete(largest(one))
    const report = await check(readData)
    expect(report.sound).toBe(false)
    expect(report.missingSnapshots).toEqual([two.snapshot.id])
    expect(report.missingPacks).toEqual([largest(one).slice('data/'.length)])
  })

  test('a whole rollback, which stock restic does not notice, is noticed', async () => {
    for (const { id } of two.packs) store.objects.delete(objectName('data', id))
    for (const { id } of two.index) store.objects.delete(objectName('index', id))
    store.objects.delete(objectName('snapshots', two.snapshot.id))
    const report = await check(readData)
    expect(report.missingSnapshots).toEqual([two.snapshot.id])
    expect(report.missingIndex).toEqual(two.index.map(({ id }) => id))
    expect(report.errors).toMatchObject([{ code: 'PACKS_DIFFER', object: `index/${two.index[0]?.id}` }])
  })

  test('finds a damaged index, snapshot, pack header, key file and config', async () => {
    const [header, index, snapshot] = [
      largest(one),
      `index/${one.index[0]?.id}`,
      `snapshots/${one.snapshot.id}`,
    ]
    store.damage(header, -10)
    store.damage(parseObjectName(index))
    store.damage(parseObjectName(snapshot))
    store.damage(parseObjectName('config'))
    store.objects.delete(objectName('keys', created.keyFile.id))
    const report = await check(readData)
    const found = report.errors.map(({ code, object }) => `${code} ${object}`)
    expect(found).toContain('REPOSITORY_PIN config')
    expect(found).toContain(`OBJECT_WRONG ${index}`)
    expect(found).toContain(`OBJECT_WRONG ${snapshot}`)
    expect(report.missingPinned).toEqual([created.keyFile.id])
  })

  test('a pack that was cut short, or is longer than its index says, is an error', async () => {
    const body = store.body(largest(two))
    store.objects.set(largest(two), body.slice(0, -1))
    expect(await check(readData)).toMatchObject({ sound: false, errorCount: 1, missingPacks: [] })
    store.objects.set(largest(two), Buffer.concat([body, new Uint8Array(1)]))
    expect(await check(readData)).toMatchObject({ sound: false, errorCount: 1 })
  })

  test('a genuine snapshot named as an index is refused', async () => {
    store.objects.set(objectName('index', one.snapshot.id), one.snapshot.body)
    const [first, second] = expected.indexSets
    if (first === undefined || second === undefined) throw new Error('two were expected')
    const lie = { ...expected, indexSets: [{ ...first, index: [one.snapshot] }, second] }
    const report = await check(readData, lie)
    expect(report.errors).toContainEqual(
      expect.objectContaining({ code: 'REPOSITORY_FORMAT', object: `index/${one.snapshot.id}` }),
    )
    expect(report.errors).toContainEqual(expect.objectContaining({ code: 'PACKS_DIFFER' }))
  })

  test('objects that nobody expects are counted and not opened', async () => {
    const junk = await sealUnpacked(created.repository.key, new Uint8Array(5), systemEnvironment.entropy)
    await store.put(objectName('index', junk.id), junk.body, never)
    await store.put(objectName('snapshots', junk.id), junk.body, never)
    expect(await check(readData)).toMatchObject({ sound: true, ignored: 2 })
    expect(await check(readData, expectedOf(created, one))).toMatchObject({
      sound: true,
      ignored: 2 + 1 + two.index.length + two.packs.length,
    })
  })

  test('a storage that cannot be reached is no finding', async () => {
    store.faults = {
      before: operation => {
        if (operation === 'get') throw new StorageError('STORAGE_UNAVAILABLE', 'no route to the storage')
      },
    }
    expect(await codeOf(() => check(readData))).toBe('STORAGE_UNAVAILABLE')
  })
})

test('a flipped bit within a blob is found by reading the data only', async () => {
  store.damage(largest(one), 100)
  expect(await check(false)).toMatchObject({ sound: true })
  expect((await check(true)).errors).toMatchObject([{ code: 'OBJECT_WRONG', object: largest(one) }])
})

describe('a check that reads some of the data', () => {
  const all = () => [...one.packs, ...two.packs]
  const reading = (...slots: readonly number[]): ReadingPlan => {
    const order = [...slots, ...readNothing.order.filter(slot => !slots.includes(slot))]
    return { order, must: slots.length, share: 0 }
  }
  const slotOfLargest = () => Number.parseInt(largest(one).slice('data/'.length, 'data/'.length + 2), 16)
  const elsewhere = () => {
    const found = all().find(({ id }) => slotOf(id) !== slotOfLargest())
    if (found === undefined) throw new Error('all packs are in one slot')
    return found
  }

  test('finds what is wrong in a slot that it reads, and proves all others that it reads', async () => {
    store.damage(largest(one), 100)
    const report = await checkWith(reading(slotOfLargest(), slotOf(elsewhere().id)))
    expect(report.errors).toMatchObject([{ code: 'OBJECT_WRONG', object: largest(one) }])
    expect(slotsOf(report.proven.slots)).toContain(slotOf(elsewhere().id))
    expect(slotsOf(report.proven.slots)).not.toContain(slotOfLargest())
    const proven = all().filter(({ id }) => slotOf(id) === slotOf(elsewhere().id))
    expect(report.proven.packs).toEqual(summarisePacks(proven))
  })

  test('does not see what is wrong elsewhere, and does not claim to', async () => {
    store.damage(largest(one), 100)
    const report = await checkWith(reading(slotOf(elsewhere().id)))
    expect(report).toMatchObject({ sound: true })
    const empty = 256 - new Set(all().map(({ id }) => slotOf(id))).size
    expect(slotsOf(report.proven.slots)).toHaveLength(1 + empty)
    expect(slotsOf(report.proven.slots)).not.toContain(slotOfLargest())
  })

  test('proves nothing of a pack that is gone', async () => {
    store.objects.delete(largest(one))
    const report = await checkWith(readEverything)
    expect(report.missingPacks).toHaveLength(1)
    expect(slotsOf(report.proven.slots)).not.toContain(slotOfLargest())
    expect(slotsOf(report.proven.slots)).toHaveLength(255)
  })

  test('proves nothing at all when an index is gone: nobody knows which packs there should be', async () => {
    store.objects.delete(objectName('index', two.index[0]?.id ?? ''))
    const { proven } = await checkWith(readEverything)
    expect(proven).toEqual({ slots: '0'.repeat(64), packs: summarisePacks([]) })
  })

  test('proves the data although a snapshot is gone', async () => {
    store.objects.delete(objectName('snapshots', two.snapshot.id))
    const report = await checkWith(readEverything)
    expect(report.sound).toBe(false)
    expect(report.proven.packs.count).toBe(all().length)
  })
})

test('a pack with blobs that its index names otherwise is an error', async () => {
  const { encodeIndex, openIndex } = await import('../../src/repository/index.ts')
  const packs = await openIndex(created.repository.key, one.index[0]?.body ?? new Uint8Array(0))
  const swapped = packs.map(pack => ({
    ...pack,
    blobs: pack.blobs.map(blob => ({ ...blob, id: packs[0]?.id ?? '' })),
  }))
  const index = await sealUnpacked(created.repository.key, encodeIndex(swapped), systemEnvironment.entropy)
  await store.put(objectName('index', index.id), index.body, never)
  const [first] = expected.indexSets
  if (first === undefined) throw new Error('one was expected')
  const report = await check(false, { ...expected, indexSets: [{ ...first, index: [index] }] })
  const codes = report.errors.map(({ code }) => code)
  expect(codes).toContain('PACK_DIFFERS')
  expect(codes).toContain('BLOB_MISSING')
})
