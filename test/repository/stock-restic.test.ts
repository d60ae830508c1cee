import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseDigest } from '../../src/base/names.ts'
import type { ManifestVolume } from '../../src/repository/manifest.ts'
import { fetchIndexTable, fileOf, readSnapshot, readTree, subtreeOf } from '../../src/repository/reader.ts'
import { openRepository } from '../../src/repository/repository.ts'
import { restoreContent } from '../../src/repository/restore.ts'
import { type ObjectKind, objectName } from '../../src/storage/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import {
  backup,
  digestOf,
  KiB,
  MemorySink,
  MiB,
  never,
  newRepository,
  passphrase,
  sampleImage,
  tableOf,
  tablePlace,
  volumeDigestOf,
} from './fixtures.ts'

import { StockRestic } from './stock-restic.ts'

/* Two programs that were written apart must agree: stock restic judges what we write, and writes what we read. */

let stock: StockRestic
let directory: string

beforeAll(async () => {
  stock = await StockRestic.make()
  directory = stock.directory
})
afterAll(() => stock[Symbol.asyncDispose]())

const restic = (repository: string, ...command: readonly string[]) => stock.run(repository, ...command)

describe('stock restic reads what we write', () => {
  const store = new MemoryStore()
  const first = { private: sampleImage(3 * MiB + 4096), root: sampleImage(20 * MiB, 2) }
  const second = { private: first.private.slice(), root: first.root.slice() }
  second.root.fill(0xa5, 5 * MiB, 5 * MiB + 4 * KiB)
  second.private.fill(0, 64 * KiB, 2 * MiB)
  let root: string

  beforeAll(async () => {
    using created = await newRepository(store)
    const one = await backup(created, store, [
      { name: 'work', volumes: first },
      { name: 'vault', volumes: { private: new Uint8Array(MiB), empty: new Uint8Array(0) } },
    ])
    const known = await tableOf(created, one)
    const two = await backup(created, store, [{ name: 'work', volumes: second }], known)
    expect(two.bytesStored).toBeLessThan(one.bytesStored / 4)
    root = await stock.layOut(store, 'ours')
  })

  test('check --read-data finds nothing', async () => {
    expect(await restic(root, 'check', '--read-data')).toContain('no errors were found')
  })

  test('snapshots say nothing of the machine', async () => {
    const snapshots = JSON.parse(await restic(root, 'snapshots', '--json')) as readonly Record<
      string,
      unknown
    >[]
    expect(snapshots).toHaveLength(2)
    expect(snapshots[0]).toMatchObject({
      hostname: 'strongroom',
      username: 'strongroom',
      paths: ['/volumes'],
      tags: ['job:test'],
    })
  })

  test('restore gives the same bytes, of the first backup and of the one after it', async () => {
    const snapshots = JSON.parse(await restic(root, 'snapshots', '--json')) as readonly { id: string }[]
    for (const [index, images] of [first, second].entries()) {
      const target = path.join(directory, `restored-${index}`)
      await restic(root, 'restore', `${snapshots[index]?.id}`, '--target', target)
      const manifest = JSON.parse(await readFile(path.join(target, 'volumes/manifest.json'), 'utf8')) as {
        vms: readonly { name: string; volumes: readonly ManifestVolume[] }[]
      }
      for (const [volume, image] of Object.entries(images)) {
        const restored = await readFile(path.join(target, `volumes/work/${volume}.img`))
        expect(Buffer.compare(restored, image)).toBe(0)
        const stated = manifest.vms
          .find(({ name }) => name === 'work')
          ?.volumes.find(({ name }) => name === volume)
        const chunkBytes = 256 * KiB
        expect(stated).toEqual({
          name: volume,
          bytes: image.byteLength,
          chunkBytes,
          digest: volumeDigestOf(image, chunkBytes),
        })
        // The digest as the documentation computes it, with stock tools.
        const file = path.join(target, `volumes/work/${volume}.img`)
        const pipe = `split -b ${chunkBytes} --filter='openssl dgst -sha256 -binary' '${file}' | sha256sum`
        if (image.byteLength <= 8 * MiB)
          expect(execFileSync('sh', ['-c', pipe], { encoding: 'utf8' }).slice(0, 64)).toBe(stated?.digest)
      }
    }
  })

  test('an unchanged volume has the same tree again, and a hole is the zero blob', async () => {
    const listed = await restic(root, 'ls', '--json', 'latest')
    expect(listed).toContain('/volumes/work/root.img')
    const zeroBlob = digestOf(new Uint8Array(512 * KiB))
    expect(await restic(root, 'find', '--blob', zeroBlob)).toContain('/volumes/work/')
  })
})

describe('we read what stock restic writes', () => {
  const images = {
    'one.img': sampleImage(5 * MiB + 77),
    'two.img': sampleImage(300 * KiB, 2),
    empty: new Uint8Array(0),
  }
  const store = new MemoryStore()
  let root: string

  beforeAll(async () => {
    root = path.join(directory, 'theirs')
    const source = path.join(directory, 'source')
    await mkdir(source)
    for (const [name, image] of Object.entries(images)) await writeFile(path.join(source, name), image)
    await restic(root, 'init', '--repository-version', '2')
    await restic(root, 'backup', source)
    await readIn(root, store)
  })

  test('its key file, config, index, trees and blobs', async () => {
    const keyId =
      [...store.objects.keys()].find(name => name.startsWith('keys/'))?.slice('keys/'.length) ?? ''
    const keyFile = store.body(objectName('keys', keyId))
    const config = await readFile(path.join(root, 'config'))
    using secret = passphrase()
    using repository = await openRepository({
      passphrase: secret,
      keyFile,
      config,
      pinned: { keyFile: keyId, config: digestOf(config) },
    })
    const idsOf = (kind: ObjectKind) =>
      [...store.objects.keys()]
        .filter(name => name.startsWith(`${kind}/`))
        .map(name => name.slice(kind.length + 1))
    const indexes = idsOf('index').map(parseDigest)
    await using table = await fetchIndexTable(repository, store, indexes, tablePlace(), never)
    const reading = { repository, store, blobs: table.reader }
    const snapshot = await readSnapshot(repository, store, idsOf('snapshots')[0] ?? '', never)
    let nodes = await readTree(reading, snapshot.tree, never)
    for (const part of path.join(directory, 'source').split('/').filter(Boolean))
      nodes = await readTree(reading, subtreeOf(nodes, part), never)
    for (const [name, image] of Object.entries(images)) {
      const { content, bytes } = fileOf(nodes, name)
      const sink = new MemorySink(bytes)
      await restoreContent(reading, content, bytes, sink, () => {}, never)
      expect(Buffer.compare(sink.bytes, image)).toBe(0)
    }
  })
})

async function readIn(root: string, store: MemoryStore): Promise<void> {
  for (const kind of ['keys', 'index', 'snapshots', 'data'] as const)
    for (const file of await readdir(path.join(root, kind), { recursive: true, withFileTypes: true }))
      if (file.isFile())
        await store.put(
          objectName(kind, file.name),
          new Uint8Array(await readFile(path.join(file.parentPath, file.name))),
          never,
        )
}
