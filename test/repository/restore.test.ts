import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  fetchIndexTable,
  listVolumes,
  readSnapshot,
  type SnapshotVolume,
} from '../../src/repository/reader.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import { restoreVolume } from '../../src/repository/restore.ts'
import type { BackupResult } from '../../src/repository/writer.ts'
import { type ObjectName, objectName } from '../../src/storage/object-store.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import {
  backup,
  digestOf,
  KiB,
  keptOpen,
  MemorySink,
  MiB,
  never,
  newRepository,
  sampleImage,
  tableOf,
  tablePlace,
  volumeDigestOf,
} from './fixtures.ts'

const images = {
  root: sampleImage(60 * MiB + 4096),
  private: sampleImage(3 * MiB, 2),
  empty: new Uint8Array(0),
  zeros: new Uint8Array(1300 * KiB),
}
let store: MemoryStore
let created: CreatedRepository
let result: BackupResult

beforeAll(async () => {
  store = new MemoryStore()
  created = await newRepository(store)
  result = await backup(created, store, [{ name: 'work', volumes: images }])
})
afterAll(() => created[Symbol.dispose]())

async function reading(from = store) {
  const { repository } = created
  const indexes = result.index.map(({ id }) => id)
  const table = await fetchIndexTable(repository, from, indexes, tablePlace(), never)
  const { reader: blobs } = keptOpen(table)
  const snapshot = await readSnapshot(repository, from, result.snapshot.id, never)
  return { source: { repository, store: from, blobs }, snapshot }
}

async function restore(name: keyof typeof images, change: Partial<SnapshotVolume> = {}, signal = never) {
  const { source, snapshot } = await reading()
  const { volumes } = await listVolumes(source, snapshot, never)
  const volume = volumes.find(volume => volume.name === name)
  if (volume === undefined) throw new Error('no such volume')
  const sink = new MemorySink(volume.bytes)
  const progress: number[] = []
  await restoreVolume(source, { ...volume, ...change }, sink, step => progress.push(step.bytesDone), signal)
  return { sink, progress }
}

/** Runs with one object changed, and puts it back. */
async function withDamage<T>(name: ObjectName, at: number, act: () => Promise<T>): Promise<T> {
  store.damage(name, at)
  try {
    return await act()
  } finally {
    store.damage(name, at)
  }
}

describe('reading a snapshot', () => {
  test('lists its volumes as the manifest has them', async () => {
    const { source, snapshot } = await reading()
    expect(snapshot).toMatchObject({ tree: result.tree, paths: ['/volumes'], tags: ['job:test'] })
    const { volumes, manifest } = await listVolumes(source, snapshot, never)
    expect(manifest).toBe(result.manifest)
    expect(volumes).toMatchObject(
      Object.entries(images).map(([name, image]) => ({
        vm: 'work',
        name,
        bytes: image.byteLength,
        digest: volumeDigestOf(image, 256 * KiB),
      })),
    )
  })

  test('an object that is not what its name says is refused before it is opened', async () => {
    const name = objectName('snapshots', result.snapshot.id)
    expect(await withDamage(name, 40, () => codeOf(() => reading()))).toBe('OBJECT_WRONG')
    const { repository } = created
    const absent = '0'.repeat(64)
    expect(await codeOf(() => readSnapshot(repository, store, absent, never))).toBe('STORAGE_MISSING')
  })

  test('an index that the ledger names as the snapshot is refused by its content', async () => {
    const planted = new MemoryStore()
    const body = result.index[0]?.body ?? new Uint8Array(0)
    await planted.put(objectName('snapshots', digestOf(body)), body, never)
    expect(await codeOf(() => readSnapshot(created.repository, planted, digestOf(body), never))).toBe(
      'REPOSITORY_FORMAT',
    )
  })
})

describe('restoring a volume', () => {
  test.each(Object.keys(images) as (keyof typeof images)[])('%s has the same bytes again', async name => {
    const { sink, progress } = await restore(name)
    expect(Buffer.compare(sink.bytes, images[name])).toBe(0)
    expect(progress.at(-1) ?? 0).toBe(images[name].byteLength)
  })

  test('zeros are neither fetched nor written', async () => {
    expect((await restore('zeros')).sink.bytesWritten).toBe(0)
    expect((await restore('root')).sink.bytesWritten).toBeLessThan(40 * MiB)
  })

  test('neighbouring blobs come in few long ranges', async () => {
    const before = store.calls.get
    await restore('root')
    expect(store.calls.get - before).toBeLessThan(20)
  })

  test('no flipped bit in any pack gets through', async () => {
    const largest = result.packs.toSorted((a, b) => b.bytes - a.bytes)[0]
    const name = objectName('data', `${largest?.id}`)
    const blobsEnd = (largest?.bytes ?? 0) * 0.95
    for (let at = 100; at < blobsEnd; at += Math.floor(blobsEnd / 5))
      expect(await withDamage(name, at, () => codeOf(() => restore('root')))).toBe('MAC_WRONG')
  })

  test('a pack that is gone or short is an error, and so is a blob that no index names', async () => {
    const gone = new MemoryStore()
    for (const [name, body] of store.objects) gone.objects.set(name, body)
    const { source, snapshot } = await reading(gone)
    const { volumes } = await listVolumes(source, snapshot, never)
    const root = volumes.find(({ name }) => name === 'root')
    if (root === undefined) throw new Error('no such volume')
    const attempt = () =>
      codeOf(() => restoreVolume(source, root, new MemorySink(root.bytes), () => {}, never))
    const largest = result.packs.toSorted((a, b) => b.bytes - a.bytes)[0]
    const name = objectName('data', `${largest?.id}`)
    gone.objects.set(name, store.body(name).slice(0, 1000))
    expect(await attempt()).toBe('STORAGE_RANGE')
    gone.objects.delete(name)
    expect(await attempt()).toBe('STORAGE_MISSING')
    const { repository } = created
    const withoutIndex = { repository, store, blobs: (await tableOf(created)).reader }
    expect(await codeOf(() => listVolumes(withoutIndex, snapshot, never))).toBe('BLOB_MISSING')
  })

  test('a volume that is not what the manifest says is an error', async () => {
    const digest = '0'.repeat(64) as SnapshotVolume['digest']
    expect(await codeOf(() => restore('private', { digest }))).toBe('VOLUME_DIGEST')
    expect(await codeOf(() => restore('private', { chunkBytes: 512 * KiB }))).toBe('VOLUME_DIGEST')
    expect(await codeOf(() => restore('private', { bytes: 3 * MiB - 1 }))).toBe('VOLUME_DIGEST')
    expect(await codeOf(() => restore('private', { name: 'nothing' }))).toBe('REPOSITORY_FORMAT')
  })

  test('what the sink throws, and an abort, end it', async () => {
    const { source, snapshot } = await reading()
    const { volumes } = await listVolumes(source, snapshot, never)
    const root = volumes.find(({ name }) => name === 'root')
    if (root === undefined) throw new Error('no such volume')
    const full = { write: () => Promise.reject(new Error('the disk is full')) }
    await expect(restoreVolume(source, root, full, () => {}, never)).rejects.toThrow('the disk is full')
    const stop = new AbortController()
    const reason = new Error('stopped on request')
    const stopNow = () => stop.abort(reason)
    const stopping = restoreVolume(source, root, new MemorySink(root.bytes), stopNow, stop.signal)
    await expect(stopping).rejects.toBe(reason)
  })
})
