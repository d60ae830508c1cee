import { cp, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KiB, MiB } from '../../src/base/bytes.ts'
import { wholeSnapshot } from '../../src/base/restore-choice.ts'
import { parseSlotSet, slotsOf } from '../../src/base/slots.ts'
import type { CheckResult, Examination } from '../../src/repository/examination.ts'
import { readEverything, readNothing } from '../../src/repository/read-cycle.ts'
import { type ObjectName, objectName, parseObjectName } from '../../src/storage/object-store.ts'
import { type EngineBench, makeBench, makeVm } from '../support/engine.ts'
import type { MemoryStore } from '../support/memory-store.ts'
import { backUp, cleanedUp, copyOf, examinationOf, honest, makeRoom, never, silent } from './support.ts'

let bench: EngineBench
let examination: Examination
/** What storage held after the first backup, and the images as they were then. */
let earlier: MemoryStore
let firstDay: string

beforeAll(async () => {
  bench = await makeBench()
  await makeVm(bench.machine, 'work', 40 * MiB, 'work data')
  await backUp(bench)
  earlier = copyOf(bench.storage)
  firstDay = path.join(bench.directory, 'first-day')
  await cp(bench.machine, firstDay, { recursive: true })
  await backUp(bench, 'work/private.img')
  examination = examinationOf(bench)
})
afterAll(() => bench[Symbol.asyncDispose]())

const newest = () => snapshotAt(-1)
function snapshotAt(index: number) {
  const found = examination.history.snapshots.at(index)
  if (found === undefined) throw new Error('no such snapshot')
  return found
}

/** Names that storage got with the second backup. */
const ofSecond = (kind: string) =>
  bench.storage.journal.filter(name => name.startsWith(`${kind}/`) && !earlier.objects.has(name))

async function check(store: MemoryStore, readData = true) {
  await using room = await makeRoom(honest(store))
  const plan = readData ? readEverything : readNothing
  const outcome = room.examiner.check(examination, plan, silent, never).then(failing)
  await outcome.catch(() => {})
  expect(room.events).toEqual(cleanedUp)
  return outcome
}

/** What an order of this check would end as. */
function failing({ fault, outcome }: CheckResult) {
  if (fault !== null) throw fault
  return outcome
}

/** A copy of the storage with something wrong in it. */
function changed(change: (store: MemoryStore) => void): MemoryStore {
  const store = copyOf(bench.storage)
  change(store)
  return store
}

const first = (kind: string): ObjectName => {
  const found = [...bench.storage.objects.keys()].find(name => name.startsWith(kind))
  if (found === undefined) throw new Error(`no ${kind}`)
  return found
}

describe('what dom0 sends to a sandbox', () => {
  it.each([
    ['that does its work', (room: Promise<void>) => room],
    ['that is gone before it takes anything', null],
  ])('%s is zeroed when it has left', async (_, honestly) => {
    const inside = honest(bench.storage)
    await using room = await makeRoom(
      honestly === null ? async channel => void channel.destroy() : channel => honestly(inside(channel)),
    )
    await room.examiner.check(examination, readNothing, silent, never).catch(() => {})
    // A header with kind and length, and what was sent: the task, two parts of the history, the passphrase.
    expect(room.handed).toHaveLength(8)
    for (const payload of room.handed.filter((_, at) => at % 2 === 1)) {
      expect(payload?.byteLength).toBeGreaterThan(0)
      expect(payload?.every(byte => byte === 0)).toBe(true)
    }
  })
})

describe('a check', () => {
  it.each([false, true])('of a sound repository proves every snapshot (data read: %s)', async readData => {
    const outcome = await check(bench.storage, readData)
    expect(outcome).toMatchObject({ snapshots: 2, objects: bench.storage.objects.size, warnings: [] })
  })

  it('mentions objects that nobody expects', async () => {
    const store = changed(one => one.objects.set(objectName('data', 'ab'.repeat(32)), new Uint8Array(3)))
    expect((await check(store)).warnings).toEqual(['1 objects in storage belong to no snapshot'])
  })

  it('reports that the newest snapshot was deleted', async () => {
    const store = changed(one => one.objects.delete(objectName('snapshots', newest().snapshot.id)))
    await expect(check(store, false)).rejects.toMatchObject({ code: 'SNAPSHOT_DELETED', kind: 'integrity' })
  })

  it('reports that an older snapshot was deleted', async () => {
    const store = changed(one => one.objects.delete(objectName('snapshots', snapshotAt(0).snapshot.id)))
    await expect(check(store, false)).rejects.toMatchObject({ code: 'SNAPSHOT_DELETED' })
  })

  it('reports that an older state was put back', async () => {
    await expect(check(earlier, false)).rejects.toMatchObject({
      code: 'STORAGE_ROLLED_BACK',
      kind: 'integrity',
    })
  })

  it('tells what it has proven, also when it finds a fault', async () => {
    const packs = [...bench.storage.objects.keys()].filter(name => name.startsWith('data/'))
    await using room = await makeRoom(honest(bench.storage))
    const sound = await room.examiner.check(examination, readEverything, silent, never)
    expect(sound).toMatchObject({
      fault: null,
      proven: { slots: 'f'.repeat(64), packs: { count: packs.length, bytes: sound.outcome.bytes } },
    })
    await using faulty = await makeRoom(honest(changed(one => one.damage(first('data/'), 100))))
    const { fault, proven } = await faulty.examiner.check(examination, readEverything, silent, never)
    expect(fault).toMatchObject({ code: 'CHECK_FAILED' })
    expect(slotsOf(proven?.slots ?? parseSlotSet('0'.repeat(64)))).toHaveLength(255)
    expect(proven?.packs.count).toBeLessThan(packs.length)
  })

  it('finds a flipped bit of a pack when it reads the data', async () => {
    const store = changed(one => one.damage(first('data/'), 100))
    await expect(check(store, true)).rejects.toMatchObject({ code: 'CHECK_FAILED' })
  })

  it.each(['data/', 'index/', 'keys/', 'config'])('finds that one of %s is missing', async kind => {
    const store = changed(one => one.objects.delete(first(kind)))
    await expect(check(store, false)).rejects.toMatchObject({ code: 'CHECK_FAILED' })
  })

  it.each(['data/', 'index/', 'keys/', 'config', 'snapshots/'])('finds one of %s cut short', async kind => {
    const store = changed(one => one.objects.set(first(kind), one.body(first(kind)).slice(0, 40)))
    await expect(check(store, false)).rejects.toMatchObject({ code: 'CHECK_FAILED' })
  })

  it('finds genuine objects in the places of others', async () => {
    const older = bench.storage.body(objectName('snapshots', snapshotAt(0).snapshot.id))
    for (const place of [
      first('index/'),
      objectName('snapshots', newest().snapshot.id),
      parseObjectName('config'),
    ]) {
      const store = changed(one => one.objects.set(place, older))
      await expect(check(store, false)).rejects.toMatchObject({ code: 'CHECK_FAILED' })
    }
  })

  it('with another passphrase opens nothing', async () => {
    const { Secret } = await import('../../src/base/secret.ts')
    await using room = await makeRoom(honest(bench.storage))
    const wrong = { ...examination, passphrase: Secret.take(Buffer.from('another-passphrase')) }
    expect(await room.examiner.check(wrong, readNothing, silent, never)).toMatchObject({
      fault: { code: 'CHECK_FAILED' },
      proven: null,
    })
  })
})

describe('a restore', () => {
  async function restore(store: MemoryStore, index: number) {
    const room = await makeRoom(honest(store))
    const outcome = room.examiner.restore(
      examination,
      snapshotAt(index).snapshotId,
      wholeSnapshot,
      silent,
      never,
    )
    await outcome.catch(() => {})
    expect(room.events).toEqual(cleanedUp)
    return Object.assign(room, { outcome })
  }

  it.each([
    [-1, 'the newest'],
    [0, 'an older'],
  ])('of snapshot %i, %s, gives every byte back, and holes as holes', async index => {
    await using room = await restore(bench.storage, index)
    const { snapshotId } = snapshotAt(index)
    expect(await room.outcome).toMatchObject({ snapshot: snapshotId, volumes: 2 })
    expect(await room.files()).toEqual(['personal/private.img', 'work/private.img'])
    const original = index === 0 ? firstDay : bench.machine
    for (const file of await room.files()) {
      const restored = await readFile(path.join(room.target, file))
      expect(restored.equals(await readFile(path.join(original, file)))).toBe(true)
    }
    expect((await stat(path.join(room.target, 'work/private.img'))).blocks * 512).toBeLessThan(2 * MiB)
  })

  it('needs nothing that came after its snapshot', async () => {
    await using room = await restore(earlier, 0)
    expect(await room.outcome).toMatchObject({ volumes: 2 })
  })

  it('of what was deleted, changed or rolled back puts nothing in place', async () => {
    const faults = [
      ['SNAPSHOT_DELETED', earlier],
      ['SNAPSHOT_DELETED', changed(one => one.objects.delete(objectName('snapshots', newest().snapshot.id)))],
      [
        'CHECK_FAILED',
        changed(one => {
          for (const name of one.objects.keys()) if (name.startsWith('data/')) one.damage(name, 100)
        }),
      ],
      ['CHECK_FAILED', changed(one => one.objects.delete(ofSecond('index')[0] ?? first('index/')))],
    ] as const
    for (const [code, store] of faults) {
      await using room = await restore(store, -1)
      await expect(room.outcome).rejects.toMatchObject({ code, kind: 'integrity' })
      expect(await room.files()).toEqual([])
    }
  })

  it('never writes over what is there', async () => {
    await using room = await restore(bench.storage, -1)
    await room.outcome
    const again = room.examiner.restore(examination, newest().snapshotId, wholeSnapshot, silent, never)
    await expect(again).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    expect(await room.files()).toHaveLength(2)
  })

  it('tells its progress', async () => {
    await using room = await makeRoom(honest(bench.storage))
    const phases = new Set<string>()
    await room.examiner.restore(
      examination,
      newest().snapshotId,
      wholeSnapshot,
      ({ phase }) => phases.add(phase),
      never,
    )
    expect([...phases]).toEqual(['restoring'])
  })
})

it('the bench has what these tests are about', () => {
  expect(ofSecond('data').length).toBeGreaterThan(0)
  expect(ofSecond('index')).toHaveLength(1)
  expect(bench.storage.bytesStored).toBeLessThan(4 * MiB + KiB)
})
