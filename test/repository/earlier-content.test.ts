import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import type { Extent } from '../../src/host/volumes.ts'
import { unpackContent } from '../../src/repository/content-map.ts'
import type { IndexTable } from '../../src/repository/index-table.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import type { BackupVolume, EarlierContent } from '../../src/repository/volume-plan.ts'
import { BackupWriter, type VolumeResult } from '../../src/repository/writer.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { fileVolume, KiB, MiB, never, newRepository, tableOf, volumeDigestOf } from './fixtures.ts'

/* A backup that is told what has not changed since the one before. */

const chunkBytes = 256 * KiB
const chunks = 120
const state = { source: 'test', mark: 'yesterday' }
const options = { ...systemEnvironment, concurrency: 2 }

let store: MemoryStore
let created: CreatedRepository
let image: Buffer
beforeEach(async () => {
  store = new MemoryStore()
  created = await newRepository(store)
  image = randomBytes(chunks * chunkBytes)
  image.fill(0, 4 * chunkBytes, 9 * chunkBytes)
})
afterEach(() => created[Symbol.dispose]())

async function first(): Promise<{ volume: VolumeResult; known: IndexTable }> {
  const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
  const volume = await writer.addVolume(fileVolume('root', image), () => {}, never)
  const vms = [{ name: 'work' as never, volumes: [volume] }]
  const { index } = await writer.finish({ vms, time: new Date(), tags: [] }, never)
  return { volume, known: await tableOf(created, { index }) }
}

/** The volume, of which everything but `data` is said to be unchanged if it is asked with the right state. */
function told(bytes: Uint8Array, data: readonly number[], asked: unknown[] = []): BackupVolume {
  return {
    ...fileVolume('root', bytes),
    async *extents(since): AsyncGenerator<Extent> {
      asked.push(since)
      for (let chunk = 0; chunk < chunks; chunk++)
        yield {
          kind: since === null || data.includes(chunk) ? 'data' : 'unchanged',
          offset: chunk * chunkBytes,
          length: chunkBytes,
        }
    },
  }
}

async function second(
  volume: BackupVolume,
  known: IndexTable,
  earlier: EarlierContent,
): Promise<VolumeResult> {
  const writer = new BackupWriter(created.repository, store, known, options)
  try {
    return await writer.addVolume(volume, () => {}, never, earlier)
  } finally {
    await writer.abort()
  }
}

const changedAt = (chunk: number) => {
  const changed = Buffer.from(image)
  changed.write('changed', chunk * chunkBytes + 1000)
  return changed
}

test('what changed is read, the rest is taken over, and the digest is that of the whole', async () => {
  const { volume, known } = await first()
  const changed = changedAt(50)
  const asked: unknown[] = []
  const earlier = { content: volume.content, fingerprints: volume.fingerprints, state, turn: 0 }
  const result = await second(told(changed, [50], asked), known, earlier)
  expect(asked).toEqual([state])
  expect(result.digest).toBe(volumeDigestOf(changed, chunkBytes))
  expect(result.digest).not.toBe(volume.digest)
})

test('what is said to be unchanged is not read', async () => {
  const { volume, known } = await first()
  // Nothing of this file is what was backed up, but for the chunk that is sampled.
  const other = randomBytes(image.byteLength)
  image.copy(other, 0, 0, chunkBytes)
  image.copy(other, 100 * chunkBytes, 100 * chunkBytes, 101 * chunkBytes)
  const result = await second(told(other, []), known, {
    content: volume.content,
    fingerprints: volume.fingerprints,
    state,
    turn: 0,
  })
  expect(result.digest).toBe(volume.digest)
})

test('a wrong word about any chunk is found within a hundred backups, and fails the one that finds it', async () => {
  const { volume, known } = await first()
  for (const chunk of [3, 6, 77]) {
    const liar = told(changedAt(chunk), [])
    const codes = []
    for (const turn of [0, 1, 2, 96, 97, 98, 99].concat(100 - (chunk % 100)))
      codes.push(
        await codeOf(() =>
          second(liar, known, {
            content: volume.content,
            fingerprints: volume.fingerprints,
            state,
            turn: turn % 100,
          }),
        ),
      )
    expect(codes.at(-1)).toBe('CHANGES_MISSED')
    expect(codes.filter(code => code === 'ok').length).toBeGreaterThan(3)
  }
})

describe('a chunk that is read and has the fingerprint that it had', () => {
  /** What the last backup found, but for the id of chunk 50: whoever goes by its fingerprint takes it for right. */
  const misremembered = ({ bytes, content, fingerprints }: VolumeResult, turn: number): EarlierContent => {
    const wrong = unpackContent(content.packed(), bytes, chunkBytes)
    wrong.set(50, Buffer.alloc(32, 7))
    return { content: wrong, fingerprints, state: null, turn }
  }

  test('is not hashed again, but for a hundredth of them, which finds what is wrong', async () => {
    const { volume, known } = await first()
    const codes = []
    for (const turn of [0, 49, 50, 51])
      codes.push(await codeOf(() => second(fileVolume('root', image), known, misremembered(volume, turn))))
    expect(codes).toEqual(['ok', 'ok', 'CHANGES_MISSED', 'ok'])
  })

  test('has the id that it had; one that has changed is hashed and stored', async () => {
    const { volume, known } = await first()
    const earlier = { content: volume.content, fingerprints: volume.fingerprints, state: null, turn: 1 }
    const changed = changedAt(50)
    const result = await second(fileVolume('root', changed), known, earlier)
    expect(result.digest).toBe(volumeDigestOf(changed, chunkBytes))
    expect((await second(fileVolume('root', image), known, earlier)).digest).toBe(volume.digest)
  })

  test('that became zeros, or was zeros, is what it is', async () => {
    const { volume, known } = await first()
    const earlier = { content: volume.content, fingerprints: volume.fingerprints, state: null, turn: 1 }
    const changed = Buffer.from(image)
    changed.fill(0, 20 * chunkBytes, 21 * chunkBytes)
    changed.fill(9, 5 * chunkBytes, 6 * chunkBytes)
    const result = await second(fileVolume('root', changed), known, earlier)
    expect(result.digest).toBe(volumeDigestOf(changed, chunkBytes))
  })
})

test('a volume of another size is read as a whole', async () => {
  const { volume, known } = await first()
  const longer = Buffer.concat([image, randomBytes(MiB)])
  const asked: unknown[] = []
  const larger = {
    ...fileVolume('root', longer),
    async *extents(since: unknown): AsyncGenerator<Extent> {
      asked.push(since)
      yield { kind: 'data', offset: 0, length: longer.byteLength }
    },
  }
  const result = await second(larger, known, {
    content: volume.content,
    fingerprints: volume.fingerprints,
    state,
    turn: 0,
  })
  expect(asked).toEqual([null])
  expect(result.digest).toBe(volumeDigestOf(longer, chunkBytes))
})

describe('the content of a volume', () => {
  test('is packed and unpacked', async () => {
    const { volume } = await first()
    const packed = volume.content.packed()
    expect(packed.byteLength).toBe(chunks + (chunks - 5) * 32)
    const again = unpackContent(packed, volume.bytes, chunkBytes)
    expect(again.digest()).toBe(volume.digest)
    for (const bad of [packed.subarray(1), packed.subarray(0, -1), new Uint8Array(0), packed.with(0, 7)])
      expect(await codeOf(() => unpackContent(bad, volume.bytes, chunkBytes))).toBe('REPOSITORY_FORMAT')
  })
})
