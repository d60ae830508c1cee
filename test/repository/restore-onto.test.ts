import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { listVolumes, readSnapshot } from '../../src/repository/reader.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import { restoreVolume } from '../../src/repository/restore.ts'
import { type ExistingTarget, updateVolume } from '../../src/repository/restore-onto.ts'
import { restoreRange } from '../../src/repository/restore-range.ts'
import type { BackupResult } from '../../src/repository/writer.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { backup, KiB, MemorySink, MiB, never, newRepository, sampleImage, tableOf } from './fixtures.ts'

const chunkBytes = 256 * KiB
const noise = randomBytes(48 * MiB + 4096)
/** A third of it zeros, in its middle. */
const holed = Uint8Array.from(noise.subarray(0, 12 * MiB + 100)).fill(0, 4 * MiB, 8 * MiB)
const images = { noise, holed, mixed: sampleImage(9 * MiB + 1), empty: new Uint8Array(0) }
type Name = keyof typeof images

let store: MemoryStore
let created: CreatedRepository
let result: BackupResult
/** Bytes that were fetched since the last look at the list of volumes. */
let fetched = 0

beforeAll(async () => {
  store = new MemoryStore()
  created = await newRepository(store)
  result = await backup(created, store, [{ name: 'work', volumes: images }])
})
afterAll(() => created[Symbol.dispose]())

async function volumeOf(name: Name) {
  const { repository } = created
  const counting: ObjectStore = {
    put: store.put.bind(store),
    head: store.head.bind(store),
    list: store.list.bind(store),
    async get(name, range, signal) {
      fetched += range === 'whole' ? store.body(name).byteLength : range.length
      return await store.get(name, range, signal)
    },
  }
  const { reader: blobs } = await tableOf(created, result)
  const source = { repository, store: counting, blobs }
  const snapshot = await readSnapshot(repository, counting, result.snapshot.id, never)
  const { volumes } = await listVolumes(source, snapshot, never)
  const volume = volumes.find(one => one.name === name)
  if (volume === undefined) throw new Error('no such volume')
  fetched = 0
  return { source, volume }
}

/** Something that holds these bytes already. */
class Target extends MemorySink implements ExistingTarget {
  constructor(bytes: Uint8Array, length = bytes.byteLength) {
    super(length)
    this.bytes.set(bytes.subarray(0, length))
  }

  readonly read = async (into: Uint8Array, offset: number) => {
    into.set(this.bytes.subarray(offset, offset + into.byteLength))
    return offset + into.byteLength <= this.bytes.byteLength
  }
}

async function update(name: Name, before: Uint8Array, signal = never): Promise<Target> {
  const { source, volume } = await volumeOf(name)
  const target = new Target(before)
  await updateVolume(source, volume, target, () => {}, signal)
  expect(Buffer.compare(target.bytes, images[name])).toBe(0)
  return target
}

describe('onto what is there', () => {
  test('a volume that is whole is not fetched at all', async () => {
    const target = await update('noise', noise)
    expect(target.bytesWritten).toBe(0)
    // The tree of the VM, which names the chunks.
    expect(fetched).toBeLessThan(64 * KiB)
  })

  test('a restore that was interrupted half way fetches the other half', async () => {
    const half = Uint8Array.from(noise).fill(0, 24 * MiB)
    await update('noise', half)
    expect(fetched).toBeGreaterThan(23 * MiB)
    expect(fetched).toBeLessThan(25 * MiB)
  })

  test('where three chunks of a hundred differ, those are fetched', async () => {
    const changed = Uint8Array.from(noise)
    const chunks = Math.ceil(noise.byteLength / chunkBytes)
    let count = 0
    for (let at = 7 * chunkBytes; at < noise.byteLength; at += 33 * chunkBytes, count++)
      changed[at] = (changed[at] ?? 0) ^ 1
    const target = await update('noise', changed)
    expect(count / chunks).toBeCloseTo(0.03, 2)
    expect(target.bytesWritten).toBe(count * chunkBytes)
    expect(fetched).toBeLessThan(count * chunkBytes + 128 * KiB)
  })

  test('zeros are cleared where there is something else', async () => {
    const target = await update('holed', noise.subarray(0, holed.byteLength))
    expect(target.bytesWritten).toBe(4 * MiB)
    expect(fetched).toBeLessThan(64 * KiB)
  })

  test.each(Object.keys(images) as Name[])('%s becomes what it was, whatever is there', async name => {
    const { byteLength } = images[name]
    for (const before of [new Uint8Array(byteLength), new Uint8Array(byteLength).fill(7)])
      await update(name, before)
  })

  test('an interruption leaves what the next one goes on with', async () => {
    const { source, volume } = await volumeOf('noise')
    const target = new Target(new Uint8Array(noise.byteLength))
    const stop = new AbortController()
    const stopping = ({ bytesDone }: { bytesDone: number }) => {
      if (bytesDone > 20 * MiB) stop.abort(new Error('stopped on request'))
    }
    await expect(updateVolume(source, volume, target, stopping, stop.signal)).rejects.toThrow('on request')
    const before = fetched
    expect(target.bytesWritten).toBeLessThan(noise.byteLength)
    const { bytesWritten } = target
    await updateVolume(source, volume, target, () => {}, never)
    expect(Buffer.compare(target.bytes, noise)).toBe(0)
    expect(target.bytesWritten).toBe(noise.byteLength)
    expect(fetched - before).toBeLessThan(noise.byteLength - bytesWritten + MiB)
  })
})

describe('a range', () => {
  async function range(name: Name, offset: number, length: number): Promise<MemorySink> {
    const { source, volume } = await volumeOf(name)
    const sink = new MemorySink(length)
    await restoreRange(source, volume, { offset, length }, sink, () => {}, never)
    return sink
  }

  test.each([
    ['noise', 0, 1],
    ['noise', chunkBytes - 1, 2],
    ['noise', 10 * MiB + 17, 3 * MiB],
    ['noise', 48 * MiB + 4095, 1],
    ['noise', 0, noise.byteLength],
    ['holed', 4 * MiB - 5, 4 * MiB + 10],
    ['holed', 5 * MiB, 1 * MiB],
    ['mixed', 9 * MiB - 100, 101],
  ] as const)('of %s at %i, of %i bytes, has exactly these', async (name, offset, length) => {
    const { bytes } = await range(name, offset, length)
    expect(Buffer.compare(bytes, images[name].subarray(offset, offset + length))).toBe(0)
  })

  test('fetches only chunks that have a byte of it', async () => {
    await range('noise', 10 * MiB + 17, 3 * MiB)
    expect(fetched).toBeLessThan(3 * MiB + 2 * chunkBytes + 64 * KiB)
    await range('holed', 5 * MiB, MiB)
    expect(fetched).toBeLessThan(64 * KiB)
  })

  test('of a volume that is not what the manifest says is refused before anything is fetched', async () => {
    const { source, volume } = await volumeOf('noise')
    const other = { ...volume, digest: '0'.repeat(64) as typeof volume.digest }
    const sink = new MemorySink(1)
    const attempt = () => restoreRange(source, other, { offset: 0, length: 1 }, sink, () => {}, never)
    expect(await codeOf(attempt)).toBe('VOLUME_DIGEST')
    expect(fetched).toBeLessThan(64 * KiB)
  })
})

test('the same with nothing there is a restore', async () => {
  const { source, volume } = await volumeOf('noise')
  const sink = new MemorySink(volume.bytes)
  await restoreVolume(source, volume, sink, () => {}, never)
  expect(fetched).toBeGreaterThan(48 * MiB)
})
