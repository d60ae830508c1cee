import { randomBytes } from 'node:crypto'
import { appendFile, readdir, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { MiB } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import { bytesText } from '../../src/base/quantities.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { PackJournal } from '../../src/engine/pack-journal.ts'
import type { StoredPack } from '../../src/repository/pack-uploads.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { type ObjectName, objectName } from '../../src/storage/object-store.ts'
import { type EngineBench, run, testBench } from '../support/engine.ts'
import { MemoryStore } from '../support/memory-store.ts'

const never = new AbortController().signal
const imageBytes = 64 * MiB

let bench: EngineBench
beforeEach(async () => {
  bench = await testBench()
})

const backup = () => run(bench)

const packs = () => bench.storage.journal.filter(name => name.startsWith('data/'))
const bytesOf = (names: readonly ObjectName[]) =>
  names.reduce((sum, name) => sum + bench.storage.body(name).byteLength, 0)

/** The storage takes so many packs, and then nothing any more. */
async function interruptedAfter(count: number): Promise<void> {
  bench.storage.faults = {
    before: (operation, subject) => {
      if (operation === 'put' && subject.startsWith('data/') && packs().length >= count)
        throw new StorageError('STORAGE_IO', 'planted')
    },
  }
  expect((await backup()).state).toBe('failed')
  bench.storage.faults = {}
}

describe('a backup after an interrupted one', () => {
  beforeEach(() => writeFile(path.join(bench.machine, 'work', 'private.img'), randomBytes(imageBytes)))

  it('uses what is stored already, and its snapshot is whole', async () => {
    await interruptedAfter(2)
    const before = packs()
    expect(bytesOf(before)).toBeGreaterThan(30 * MiB)
    await bench.restart()
    const job = await backup()
    expect(job).toMatchObject({ state: 'done', error: null })
    expect(job.outcome?.warnings).toEqual([
      `${bytesText(bytesOf(before))} of an interrupted backup were in the storage, and were not sent again`,
    ])
    const added = packs().slice(before.length)
    expect(bytesOf(added)).toBeLessThan(imageBytes + 6 * MiB - bytesOf(before))
    // The ledger counts all packs of the snapshot, those of the interrupted job included.
    const [snapshot] = bench.ledger.repository(bench.profile, 1)?.snapshots ?? []
    expect(snapshot?.packs).toMatchObject({ count: packs().length, bytes: bytesOf(packs()) })
    // And nothing is adopted twice.
    const next = await backup()
    expect(next.outcome?.bytesStored).toBeLessThan(0.1 * MiB)
    expect(next.outcome?.warnings).toEqual([])
  })

  it('stores anew what the storage has lost meanwhile', async () => {
    await interruptedAfter(2)
    for (const name of packs()) bench.storage.objects.delete(name)
    const job = await backup()
    expect(job.state).toBe('done')
    expect(job.outcome?.bytesStored).toBeGreaterThan(imageBytes)
    expect(job.outcome?.warnings).toEqual([])
  })
})

describe('the journal of packs', () => {
  const key = RepositoryKey.generate(systemEntropy)
  const store = new MemoryStore()
  const pack = async (text: string): Promise<StoredPack> => {
    const body = Buffer.from(text)
    const id = parseDigest(Buffer.from(await crypto.subtle.digest('SHA-256', body)).toString('hex'))
    await store.put(objectName('data', id), body, never)
    return {
      type: text.startsWith('tree') ? 'tree' : 'data',
      id,
      bytes: body.byteLength,
      records: Buffer.from(text),
    }
  }
  const journal = () => new PackJournal(bench.directory, key, systemEntropy)
  const file = () => path.join(bench.directory, 'packs.journal')

  it('keeps every pack until it is cleared, and leaves out those that an index names', async () => {
    const all = [await pack('data one'), await pack('tree two'), await pack('data three')]
    for (const one of all) await journal().append(one, new Date(0))
    const read = await journal().adopt(id => id === all[1]?.id, store, never)
    expect(read.map(({ id, type, bytes }) => ({ id, type, bytes }))).toEqual(
      [all[0], all[2]].map(one => ({ id: one?.id, type: one?.type, bytes: one?.bytes })),
    )
    expect(Buffer.from(read[0]?.records ?? [])).toEqual(Buffer.from('data one'))
    // For ever: an index that names it no longer may be one that a prune has made.
    expect((await journal().adopt(() => false, store, never)).map(({ id }) => id)).toEqual([
      all[0]?.id,
      all[2]?.id,
    ])
    await journal().clear()
    expect(await journal().adopt(() => false, store, never)).toEqual([])
    expect(await readdir(bench.directory)).not.toContain('packs.journal')
  })

  it.each([
    ['half a record', () => appendFile(file(), Buffer.from([200, 0, 0, 0, 1, 2, 3]))],
    ['a record that was torn', async () => truncate(file(), 60)],
    ['bytes that nobody wrote', () => appendFile(file(), Buffer.alloc(100, 40))],
  ])('goes on behind %s', async (_, damage) => {
    const [one, two] = [await pack('data one'), await pack('data two')]
    await journal().append(one, new Date(0))
    await damage()
    const before = await journal().adopt(() => false, store, never)
    expect(before.length).toBeLessThanOrEqual(1)
    await journal().append(two, new Date(0))
    const after = await journal().adopt(() => false, store, never)
    expect(after.map(({ id }) => id)).toEqual([...before.map(({ id }) => id), two.id])
  })

  it('says nothing to another key', async () => {
    await journal().append(await pack('data one'), new Date(0))
    const other = RepositoryKey.generate(systemEntropy)
    expect(
      await new PackJournal(bench.directory, other, systemEntropy).adopt(() => false, store, never),
    ).toEqual([])
  })
})
