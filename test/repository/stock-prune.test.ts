import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import { checkRepository } from '../../src/repository/check.ts'
import type { IndexTable } from '../../src/repository/index-table.ts'
import { packBytesOf } from '../../src/repository/pack.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { rewrite } from '../../src/repository/prune.ts'
import { planPrune } from '../../src/repository/prune-plan.ts'
import { readEverything } from '../../src/repository/read-cycle.ts'
import { fetchIndexTable } from '../../src/repository/reader.ts'
import type { CreatedRepository } from '../../src/repository/repository.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { type ObjectKind, objectName } from '../../src/storage/object-store.ts'
import { backup, MiB, never, newRepository, sampleImage, tablePlace } from './fixtures.ts'
import { StockRestic } from './stock-restic.ts'

/* Stock restic prunes what we have written, and we what it has pruned, in turn. */

let stock: StockRestic
let root: string
let store: LocalStore
let created: CreatedRepository

beforeAll(async () => {
  stock = await StockRestic.make()
  root = path.join(stock.directory, 'repository')
  store = new LocalStore(root, systemEnvironment, { appendOnly: false })
  created = await newRepository(store)
})
afterAll(async () => {
  created.repository[Symbol.dispose]()
  await stock[Symbol.asyncDispose]()
})

const restic = (...command: readonly string[]) => stock.run(root, ...command)

async function listed(kind: ObjectKind) {
  const found = []
  for await (const { name, bytes } of store.list(kind, never))
    found.push({ id: parseDigest(name.slice(kind.length + 1)), bytes })
  return found
}

async function table(): Promise<IndexTable> {
  const indexes = (await listed('index')).map(({ id }) => id)
  return fetchIndexTable(created.repository, store, indexes, tablePlace(), never)
}

async function check() {
  const packs = []
  await using known = await table()
  for await (const { id, blobs } of known.packs()) packs.push({ id, bytes: packBytesOf(blobs) })
  const snapshots = (await listed('snapshots')).map(snapshot => ({ snapshot }))
  const indexSets = [{ index: await listed('index'), packs: summarisePacks(packs) }]
  const expected = { pinned: created, snapshots, indexSets }
  const options = { reading: readEverything, ...tablePlace() }
  return checkRepository(created.repository, store, expected, options, () => {}, never)
}

const image = sampleImage(6 * MiB)

/** A day on which another part of the volume is new. */
async function backUp(day: number): Promise<string> {
  await using known = await table()
  image.set(systemEnvironment.entropy.bytes(2 * MiB - (day % 4) * 300_000), (day % 2) * 500_000)
  const { snapshot } = await backup(created, store, [{ name: 'work', volumes: { private: image } }], known)
  return snapshot.id
}

async function pruneOurs(staying: string): Promise<number> {
  const index = await listed('index')
  await using known = await table()
  const source = {
    repository: created.repository,
    store,
    indexSets: index.map((reference, entry) => ({ entry, index: [reference] })),
    table: known,
  }
  const plan = await planPrune(source, [staying], never)
  const done = await rewrite(source, plan, store, systemEnvironment.entropy, () => {}, never)
  const remove = async (kind: Exclude<ObjectKind, 'config'>, ids: readonly string[]) => {
    for (const id of ids)
      await store.remove(objectName(kind, id), { name: objectName(kind, id), entry: 1 }, never)
  }
  await remove(
    'snapshots',
    [...plan.listedSnapshots.keys()].filter(id => id !== staying),
  )
  await remove(
    'index',
    plan.replaced.flatMap(set => set.index.map(({ id }) => id)),
  )
  await remove(
    'data',
    [...done.dropped, ...plan.unnamedPacks].map(({ id }) => id),
  )
  return done.rewritten.length
}

test('each leaves a repository that is whole, and that the other goes on with', async () => {
  for (let day = 0; day < 8; day += 4) {
    for (const next of [0, 1, 2]) await backUp(day + next)
    await restic('forget', '--keep-last', '1', '--group-by', '', '--prune', '--max-unused', '0')
    expect(await check()).toMatchObject({ sound: true, ignored: 0 })
    expect(await listed('snapshots')).toHaveLength(1)

    expect(await pruneOurs(await backUp(day + 3))).toBeGreaterThan(0)
    expect(await check()).toMatchObject({ sound: true, ignored: 0 })
    expect(await restic('check', '--read-data')).toContain('no errors were found')
    const target = path.join(stock.directory, `restored-${day}`)
    await restic('restore', 'latest', '--target', target)
    const restored = await readFile(path.join(target, 'volumes/work/private.img'))
    expect(restored.equals(image)).toBe(true)
  }
})
