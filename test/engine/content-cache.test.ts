import { createSecretKey } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { parseSnapshotId, parseVmName } from '../../src/base/names.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { ContentCache } from '../../src/engine/content-cache.ts'
import { ContentMap } from '../../src/repository/content-map.ts'
import { Fingerprints } from '../../src/repository/fingerprints.ts'

const chunkBytes = 256 * 1024
const vm = parseVmName('work')
const snapshot = parseSnapshotId('ab'.repeat(32))
const always = () => true
let directory: string
let key: RepositoryKey

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'content-'))
  key = RepositoryKey.generate(systemEntropy)
})
afterEach(() => rm(directory, { recursive: true }))

const cache = (by = key) => new ContentCache(directory, by, systemEntropy)
const file = async () => {
  const name = (await readdir(directory, { recursive: true })).find(one => one.endsWith('.chunks'))
  return path.join(directory, `${name}`)
}

async function saved(state: { source: string; mark: string } | null) {
  const content = ContentMap.of(3 * chunkBytes + 1, chunkBytes)
  const fingerprints = Fingerprints.of(content.length, createSecretKey(systemEntropy.bytes(32)))
  for (const chunk of [0, 2]) {
    content.set(chunk, Buffer.alloc(32, chunk + 1))
    fingerprints.set(chunk, fingerprints.take(Buffer.from(`chunk ${chunk}`)))
  }
  await cache().save(vm, 'private', snapshot, { content, fingerprints, state, turn: 7 })
  return { content, fingerprints }
}

describe('what a volume was found to hold', () => {
  it.each([null, { source: 'test', mark: 'a' }])(
    'is loaded as it was saved, with the state %o',
    async state => {
      const { content } = await saved(state)
      const found = await cache().load(vm, 'private', always)
      expect(found).toMatchObject({ state, turn: 7 })
      expect(found?.content.digest()).toBe(content.digest())
      // Of the same key: what is taken again is found.
      const { fingerprints } = found ?? {}
      for (const chunk of [0, 2])
        expect(fingerprints?.is(chunk, fingerprints.take(Buffer.from(`chunk ${chunk}`)))).toBe(true)
      expect(fingerprints?.is(2, fingerprints.take(Buffer.from('chunk 0')))).toBe(false)
    },
  )

  it('is nothing when its snapshot is not current any more, or to another key', async () => {
    await saved(null)
    expect(await cache().load(vm, 'private', () => false)).toBeNull()
    expect(await cache(RepositoryKey.generate(systemEntropy)).load(vm, 'private', always)).toBeNull()
    expect(await cache().load(vm, 'root', always)).toBeNull()
  })

  it('is nothing when the file is damaged or cut off', async () => {
    await saved(null)
    const bytes = await readFile(await file())
    await writeFile(await file(), bytes.with(40, (bytes[40] ?? 0) ^ 1))
    expect(await cache().load(vm, 'private', always)).toBeNull()
    await writeFile(await file(), bytes)
    expect(await cache().load(vm, 'private', always)).not.toBeNull()
    await truncate(await file(), bytes.byteLength - 1)
    expect(await cache().load(vm, 'private', always)).toBeNull()
  })
})
