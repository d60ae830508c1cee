import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import type { VmName } from '../../src/base/names.ts'
import type { Extent } from '../../src/host/volumes.ts'
import { contentIds } from '../../src/repository/content-ids.ts'
import { openSnapshot } from '../../src/repository/snapshot.ts'
import { BackupWriter } from '../../src/repository/writer.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import {
  backup,
  digestOf,
  fileVolume,
  KiB,
  MiB,
  never,
  newRepository,
  sampleImage,
  tableOf,
  volumeDigestOf,
} from './fixtures.ts'

const options = { ...systemEnvironment, concurrency: 2 }
const work = 'work' as VmName
const kindsIn = (store: MemoryStore) => store.journal.map(name => name.split('/')[0])

describe('a backup', () => {
  test('writes packs, then index, then snapshot, and says what it wrote', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const image = sampleImage(70 * MiB)
    const progress: number[] = []
    const result = await backup(
      created,
      store,
      [{ name: 'work', volumes: { root: image } }],
      undefined,
      step => progress.push(step.bytesDone),
    )
    expect(kindsIn(store).slice(2).join(' ')).toMatch(/^(data )+index snapshots$/)
    expect(progress).toEqual(progress.toSorted((a, b) => a - b))
    expect(progress.at(-1)).toBe(image.byteLength)
    const stored = new Map([...store.objects].map(([name, body]) => [name as string, body.byteLength]))
    for (const { id, bytes } of result.packs) expect(stored.get(`data/${id}`)).toBe(bytes)
    expect(stored.get(`snapshots/${result.snapshot.id}`)).toBe(result.snapshot.bytes)
    const pinned = created.keyFile.bytes + created.config.bytes
    expect(result.bytesStored).toBe(store.bytesStored - pinned)
    expect(result.packsSummary).toEqual({
      count: result.packs.length,
      bytes: result.packs.reduce((sum, { bytes }) => sum + bytes, 0),
      root: digestOf(
        Buffer.from(
          result.packs
            .map(({ id, bytes }) => `${id} ${bytes}\n`)
            .toSorted()
            .join(''),
        ),
      ),
    })
  })

  test('the digest of a volume is over the hashes of its chunks, holes and zeros included', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    for (const bytes of [0, 1, 512, 256 * KiB, 256 * KiB + 1, 3 * MiB, 5 * MiB + 513]) {
      const image = sampleImage(bytes)
      const result = await writer.addVolume(fileVolume(`v${bytes}`, image), () => {}, never)
      expect(result).toMatchObject({ bytes, digest: volumeDigestOf(image, result.chunkBytes) })
    }
    const empty = new Uint8Array(2 * MiB + 100 * KiB)
    const result = await writer.addVolume(fileVolume('zeros', empty), () => {}, never)
    expect(result.digest).toBe(volumeDigestOf(empty, result.chunkBytes))
    const zeros = (bytes: number) => createHash('sha256').update(new Uint8Array(bytes)).digest()
    expect([...contentIds(result.content, zeros)].map(id => Buffer.from(id).toString('hex'))).toEqual([
      ...new Array(4).fill(digestOf(new Uint8Array(512 * KiB))),
      digestOf(new Uint8Array(100 * KiB)),
    ])
    await writer.abort()
  })

  test('a hole is never read', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const image = new Uint8Array(4 * MiB)
    image[3 * MiB] = 1
    const volume = fileVolume('root', image)
    // What the host calls a hole is not what the file has there: reading it would show.
    const liar = Buffer.from(image).fill(7, MiB, 2 * MiB)
    writeFileSync(volume.path, liar)
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    const result = await writer.addVolume(volume, () => {}, never)
    expect(result.digest).toBe(volumeDigestOf(image, result.chunkBytes))
    await writer.abort()
  })

  test('what is known is not stored again: a changed block costs one chunk', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const image = sampleImage(16 * MiB)
    const one = await backup(created, store, [{ name: 'work', volumes: { root: image } }])
    const same = await backup(
      created,
      store,
      [{ name: 'work', volumes: { root: image } }],
      await tableOf(created, one),
    )
    // The manifest, whose salt is new, and the trees above it.
    expect(same.packs).toHaveLength(2)
    expect(same.bytesStored).toBeLessThan(4 * KiB)
    const changed = image.slice()
    changed.set(systemEnvironment.entropy.bytes(4 * KiB), 9 * MiB)
    const known = await tableOf(created, one)
    const next = await backup(created, store, [{ name: 'work', volumes: { root: changed } }], known)
    // The chunk, the trees of VM, `volumes` and root, and the manifest.
    expect((await tableOf(created, next)).counts.records).toBe(5)
  })

  test('prepare leaves the snapshot to be put by whoever records it', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    const root = await writer.addVolume(fileVolume('root', sampleImage(MiB)), () => {}, never)
    const vms = [{ name: work, volumes: [root] }]
    const result = await writer.prepare({ vms, time: new Date(), tags: [] }, never)
    expect(kindsIn(store).slice(2)).toEqual(['data', 'data', 'index'])
    expect(result.snapshot.id).toBe(digestOf(result.snapshot.body))
    expect((await openSnapshot(created.repository.key, result.snapshot.body)).tree).toBe(result.tree)
  })

  test('equal chunks in flight are stored once', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const chunk = systemEnvironment.entropy.bytes(256 * KiB)
    const image = Buffer.concat(new Array(40).fill(chunk))
    const result = await backup(created, store, [{ name: 'work', volumes: { root: image } }])
    expect(result.bytesStored).toBeLessThan(2 * chunk.byteLength)
  })
})

describe('a backup that does not end well', () => {
  const images = { root: sampleImage(24 * MiB), private: sampleImage(MiB, 2) }

  test('leaves no snapshot, whichever operation of the storage fails, and succeeds when tried again', async () => {
    const honest = new MemoryStore()
    using first = await newRepository(honest)
    await backup(first, honest, [{ name: 'work', volumes: images }])
    const operations = honest.calls.put - 2
    expect(operations).toBeGreaterThan(3)
    for (let failing = 1; failing <= operations; failing++) {
      const store = new MemoryStore()
      using created = await newRepository(store)
      let count = 0
      store.faults = {
        before: () => {
          count += 1
          if (count === failing) throw new Error('the storage broke')
        },
      }
      await expect(backup(created, store, [{ name: 'work', volumes: images }])).rejects.toThrow(
        'the storage broke',
      )
      expect(kindsIn(store)).not.toContain('snapshots')
      store.faults = {}
      const result = await backup(created, store, [{ name: 'work', volumes: images }])
      expect([...store.objects.keys()]).toContain(`snapshots/${result.snapshot.id}`)
    }
  })

  test.each([
    ['on this thread', 2 * MiB],
    ['on threads of its own', 40 * MiB],
  ])('says what reading the volume throws, %s', async (_, missing) => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const volume = fileVolume('root', images.root)
    // It was longer when it was frozen.
    const failing = {
      ...volume,
      bytes: volume.bytes + missing,
      async *extents(): AsyncGenerator<Extent> {
        yield { kind: 'data', offset: 0, length: volume.bytes + missing }
      },
    }
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    expect(await codeOf(() => writer.addVolume(failing, () => {}, never))).toBe('VOLUME_READ')
    expect(await codeOf(() => writer.addVolume(volume, () => {}, never))).toBe('WRITER_ENDED')
    expect(await codeOf(() => writer.finish({ vms: [], time: new Date(), tags: [] }, never))).toBe(
      'WRITER_ENDED',
    )
    expect(kindsIn(store)).not.toContain('index')
  })

  test('stops at once when asked to, even while the storage hangs', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const stop = new AbortController()
    const reason = new Error('stopped on request')
    store.put = (_name, _body, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
        setImmediate(() => stop.abort(reason))
      })
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    const noise = fileVolume('root', systemEnvironment.entropy.bytes(64 * MiB), 64 * MiB)
    await expect(writer.addVolume(noise, () => {}, stop.signal)).rejects.toBe(reason)
    expect(kindsIn(store)).toHaveLength(2)
  })

  test('after abort nothing more is written', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    const root = await writer.addVolume(fileVolume('root', images.root), () => {}, never)
    await writer.abort()
    const before = store.journal.length
    const vms = [{ name: work, volumes: [root] }]
    expect(await codeOf(() => writer.finish({ vms, time: new Date(), tags: [] }, never))).toBe('WRITER_ENDED')
    expect(store.journal).toHaveLength(before)
  })
})

describe('what has no place in a snapshot', () => {
  test.each([
    ['a name with a slash', 'a/b', 1],
    ['an empty name', '', 1],
    ['a volume of a fraction of a byte', 'root', 1.5],
    ['a volume beyond the largest', 'root', 2 ** 42],
  ])('%s', async (_, name, bytes) => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
    const volume = { ...fileVolume('root', new Uint8Array(1)), name, bytes }
    expect(await codeOf(() => writer.addVolume(volume, () => {}, never))).toBe('VOLUME_UNSUITABLE')
  })

  test('a VM that is called as the manifest, and a VM that is there twice', async () => {
    for (const names of [['manifest.json'], ['work', 'work']]) {
      const store = new MemoryStore()
      using created = await newRepository(store)
      const vms = names.map(name => ({ name, volumes: {} }))
      expect(await codeOf(() => backup(created, store, vms))).toBe('VOLUME_UNSUITABLE')
      expect(kindsIn(store)).not.toContain('snapshots')
    }
  })
})

test('packs on their way are bounded: a slow storage holds the reading back', async () => {
  const store = new MemoryStore()
  using created = await newRepository(store)
  let under = 0
  let most = 0
  store.faults = {
    before: async () => {
      under += 1
      most = Math.max(most, under)
      await new Promise(resolve => setTimeout(resolve, 20))
      under -= 1
    },
  }
  await backup(created, store, [
    { name: 'work', volumes: { root: systemEnvironment.entropy.bytes(100 * MiB) } },
  ])
  // One more may be filled by what was being compressed when the last lane was taken.
  expect(most).toBeLessThanOrEqual(options.concurrency + 1)
  expect(most).toBeGreaterThan(1)
})
