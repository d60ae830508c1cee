import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { BackupWriter } from '../../src/repository/writer.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { nicenesses } from '../support/nicenesses.ts'
import { fileVolume, MiB, never, newRepository, tableOf } from './fixtures.ts'

test.each([
  [7, true],
  [0, false],
])('the threads of a backup have the niceness %i, and no other thread has', async (niceness, isSeen) => {
  const store = new MemoryStore()
  using created = await newRepository(store)
  const options = { ...systemEnvironment, concurrency: 2, niceness }
  const writer = new BackupWriter(created.repository, store, await tableOf(created), options)
  const seen = new Set<number>()
  const volume = fileVolume('root', new Uint8Array(randomBytes(48 * MiB)))
  const look = () => {
    for (const one of nicenesses()) seen.add(one)
  }
  const before = nicenesses().filter(one => one === 7).length
  await writer.addVolume(volume, look, never)
  await writer.abort()
  expect(before).toBe(0)
  expect(seen.has(7)).toBe(isSeen)
  expect(seen.has(0)).toBe(true)
})
