import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { ThreadBudget } from '../../src/repository/thread-budget.ts'
import { BackupWriter } from '../../src/repository/writer.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { fileVolume, MiB, never, newRepository, sampleImage, tableOf, volumeDigestOf } from './fixtures.ts'

const image = sampleImage(48 * MiB)

async function writerOf(threads: ThreadBudget, store = new MemoryStore()) {
  const created = await newRepository(store)
  const options = { ...systemEnvironment, concurrency: 2, threads }
  return new BackupWriter(created.repository, store, await tableOf(created), options)
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

describe('backups at once', () => {
  test('work on no more threads than all of them may have, and each stores what is there', async () => {
    const threads = new ThreadBudget(2)
    let workingMost = 0
    const look = () => {
      workingMost = Math.max(workingMost, threads.working)
    }
    const backUp = async () => {
      const writer = await writerOf(threads)
      const first = await writer.addVolume(fileVolume('root', image), look, never)
      const again = await writer.addVolume(fileVolume('private', image), look, never)
      const { packs } = await writer.finish({ vms: [], time: systemEnvironment.clock.now(), tags: [] }, never)
      return { digests: [first, again].map(({ digest }) => digest), packs: packs.length }
    }
    const results = await Promise.all([backUp(), backUp(), backUp()])
    for (const { digests, packs } of results) {
      const digest = volumeDigestOf(image, 256 * 1024)
      expect(digests).toEqual([digest, digest])
      expect(packs).toBeGreaterThan(1)
    }
    expect(workingMost).toBe(2)
    expect(threads.working).toBe(0)
  })

  test('go on while the storage of one takes nothing', async () => {
    const threads = new ThreadBudget(1)
    const { promise: stuckUntil, resolve: open } = Promise.withResolvers<void>()
    const stuckStore = new MemoryStore()
    const stuck = await writerOf(threads, stuckStore)
    stuckStore.faults.before = async () => stuckUntil
    const random = new Uint8Array(randomBytes(96 * MiB))
    let read = 0
    const slow = stuck.addVolume(
      fileVolume('root', random),
      ({ bytesDone }) => {
        read = bytesDone
      },
      never,
    )
    // It has filled as many packs as it may, and gives its turn back.
    await until(() => read > 0)
    await until(() => threads.working === 0)
    const quick = await writerOf(threads)
    await quick.addVolume(fileVolume('root', image), () => {}, never)
    await quick.abort()
    expect(read).toBeLessThan(random.byteLength)
    open()
    await slow
    await stuck.abort()
    expect(threads.working).toBe(0)
  })

  test('are cancelled at once while they wait for a turn', async () => {
    const threads = new ThreadBudget(1)
    const holder = threads.share()
    holder.take(0, () => {})
    const writer = await writerOf(threads)
    const cancel = new AbortController()
    const waiting = writer.addVolume(fileVolume('root', image), () => {}, cancel.signal)
    setImmediate(() => cancel.abort(new Error('cancelled')))
    await expect(waiting).rejects.toThrow('cancelled')
    expect(holder.held).toBe(1)
    holder.end()
    expect(threads.working).toBe(0)
  })

  test('are cancelled at once while their storage takes nothing and others have all turns', async () => {
    const threads = new ThreadBudget(1)
    const store = new MemoryStore()
    const writer = await writerOf(threads, store)
    store.put = (_name, _body, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    const cancel = new AbortController()
    let read = 0
    const look = ({ bytesDone }: { readonly bytesDone: number }) => {
      read = bytesDone
    }
    const random = new Uint8Array(randomBytes(96 * MiB))
    const waiting = writer.addVolume(fileVolume('root', random), look, cancel.signal)
    await until(() => read > 0)
    await until(() => threads.working === 0)
    const holder = threads.share()
    holder.take(0, () => {})
    setImmediate(() => cancel.abort(new Error('cancelled')))
    await expect(waiting).rejects.toThrow('cancelled')
    holder.end()
  })
})
