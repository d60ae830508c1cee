import { randomBytes } from 'node:crypto'
import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KiB, MiB } from '../../src/base/bytes.ts'
import { parseJobId, parseVmName, parseVolumeName } from '../../src/base/names.ts'
import { type RestoreChoice, wholeSnapshot } from '../../src/base/restore-choice.ts'
import type { Outcome } from '../../src/qrexec/calls/orders.ts'
import type { Examination } from '../../src/repository/examination.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { type EngineBench, makeBench, makeVm } from '../support/engine.ts'
import { backUp, examinationOf, honest, makeRoom, never, type Room, silent } from './support.ts'

/* Parts of a snapshot, and restores that go on with what is there: through dom0's half, the channel, and the real inside. */

const noise = randomBytes(20 * MiB + 100)
/** Zeros from its fifth MiB on, for six. */
const original = Uint8Array.from(noise).fill(0, 5 * MiB, 11 * MiB)
const dataBytes = original.byteLength - 6 * MiB
const image = 'work/private.img'

let bench: EngineBench
let examination: Examination
let fetched = 0

beforeAll(async () => {
  bench = await makeBench()
  await writeFile(await makeVm(bench.machine, 'work', original.byteLength, ''), original)
  await backUp(bench)
  examination = examinationOf(bench)
})
afterAll(() => bench[Symbol.asyncDispose]())

/** Counts what is fetched from the storage. */
function counting(): ObjectStore {
  const { storage } = bench
  return {
    put: storage.put.bind(storage),
    head: storage.head.bind(storage),
    list: storage.list.bind(storage),
    async get(name, range, signal) {
      fetched += range === 'whole' ? storage.body(name).byteLength : range.length
      return await storage.get(name, range, signal)
    },
  }
}

const open = () => makeRoom(honest(counting()))

async function restore(
  room: Room,
  choice: Partial<RestoreChoice> = {},
  progress: Parameters<Room['examiner']['restore']>[3] = silent,
  signal = never,
): Promise<Outcome> {
  const { snapshotId } = examination.history.snapshots.at(-1) ?? {}
  if (snapshotId === undefined) throw new Error('no snapshot')
  fetched = 0
  return await room.examiner.restore(
    examination,
    snapshotId,
    { ...wholeSnapshot, ...choice },
    progress,
    signal,
  )
}

async function interruptedHalfWay(room: Room): Promise<void> {
  const stop = new AbortController()
  const half = ({ bytesDone }: { bytesDone: number }) => {
    // First comes the other VM, then zeros, then what had been sent before the end was noticed.
    if (bytesDone > 2 * MiB + 6 * MiB + dataBytes / 2) stop.abort(new Error('cancelled'))
  }
  await expect(restore(room, {}, half, stop.signal)).rejects.toThrow('cancelled')
}

async function expectWhole(room: Room): Promise<void> {
  expect(await room.files()).toEqual(['personal/private.img', image])
  expect(Buffer.compare(await readFile(path.join(room.target, image)), original)).toBe(0)
  expect(await room.unfinished()).toEqual([])
}

describe('a restore that was interrupted', () => {
  it('shows nothing, and the next one fetches only the rest', async () => {
    await using room = await open()
    await interruptedHalfWay(room)
    expect(await room.files()).toEqual([])
    expect((await room.unfinished()).length).toBeGreaterThan(0)
    const { warnings } = await restore(room)
    await expectWhole(room)
    expect(fetched).toBeGreaterThan(0.2 * dataBytes)
    expect(fetched).toBeLessThan(0.6 * dataBytes)
    expect(warnings).toEqual([expect.stringContaining('were not fetched again')])
  })

  it('is gone on with whatever became of what it left', async () => {
    await using room = await open()
    await interruptedHalfWay(room)
    const left = (await room.unfinished()).find(file => file.endsWith(image)) ?? ''
    // A disk that lost some, and has other data where zeros belong.
    const damaged = await readFile(left)
    damaged.fill(7, 5 * MiB, 6 * MiB).fill(0, 0, MiB)
    await writeFile(left, damaged.subarray(0, 15 * MiB))
    await restore(room)
    await expectWhole(room)
  })

  it('may be interrupted again', async () => {
    await using room = await open()
    await interruptedHalfWay(room)
    const stop = new AbortController()
    const later = ({ bytesDone }: { bytesDone: number }) => {
      if (bytesDone > original.byteLength) stop.abort(new Error('cancelled'))
    }
    await expect(restore(room, {}, later, stop.signal)).rejects.toThrow('cancelled')
    expect(await room.files()).toEqual([])
    await restore(room)
    await expectWhole(room)
    expect(fetched).toBeLessThan(5 * MiB)
  })

  it('of all volumes serves a restore of one of them, and the other way round', async () => {
    await using room = await open()
    await interruptedHalfWay(room)
    await restore(room, { vm: parseVmName('work') })
    expect(await room.files()).toEqual([image])
    expect(await room.unfinished()).toEqual([])
    expect(fetched).toBeLessThan(0.6 * dataBytes)
  })
})

describe('a restore that reuses an earlier one', () => {
  const earlier = parseJobId('20261123T031500Z-1f2e3d4c')

  async function withEarlier(room: Room, change: (bytes: Buffer) => void): Promise<string> {
    await restore(room)
    const directory = path.join(path.dirname(room.target), earlier)
    await rename(room.target, directory)
    const file = path.join(directory, image)
    const bytes = await readFile(file)
    change(bytes)
    await writeFile(file, bytes)
    return file
  }

  it('fetches only what differs, clears what is zeros, and leaves the earlier one as it is', async () => {
    await using room = await open()
    const file = await withEarlier(room, bytes => {
      // Three chunks of the sixty that hold data, and some of those that do not.
      for (const at of [MiB, 2 * MiB + 5, 19 * MiB]) bytes.fill(0x55, at, at + 100)
      bytes.fill(7, 6 * MiB, 8 * MiB)
    })
    const before = await readFile(file)
    const { warnings } = await restore(room, { reuse: earlier })
    expect(Buffer.compare(await readFile(path.join(room.target, image)), original)).toBe(0)
    expect((await stat(path.join(room.target, image))).blocks * 512).toBeLessThan(dataBytes + MiB)
    expect(Buffer.compare(await readFile(file), before)).toBe(0)
    expect(fetched).toBeLessThan(3 * 256 * KiB + 128 * KiB)
    expect(warnings).toHaveLength(1)
  })

  it('that is not there is refused', async () => {
    await using room = await open()
    await expect(restore(room, { reuse: earlier })).rejects.toMatchObject({ code: 'RESTORE_MISSING' })
  })
})

describe('a restore of some volumes', () => {
  const work = parseVmName('work')

  it.each([
    [{ vm: work }, [image]],
    [{ vm: work, volumes: [parseVolumeName('private')] }, [image]],
    [{ vm: parseVmName('personal') }, ['personal/private.img']],
  ])('%j makes these and no others', async (choice, files) => {
    await using room = await open()
    expect(await restore(room, choice)).toMatchObject({ volumes: 1 })
    expect(await room.files()).toEqual(files)
    if (choice.vm !== work) expect(fetched).toBeLessThan(MiB)
  })

  it.each([
    [{ vm: parseVmName('vault') }, "the snapshot has no VM 'vault'"],
    [
      { vm: work, volumes: ['root', 'private', 'swap'].map(parseVolumeName) },
      "the snapshot has no volume 'root', 'swap' of 'work'; of this VM it has private",
    ],
  ])('%j, which it does not have, fails and tells of no other VM', async (choice, message) => {
    await using room = await open()
    await expect(restore(room, choice)).rejects.toMatchObject({ code: 'VOLUME_NOT_FOUND', message })
    expect(await room.files()).toEqual([])
    expect(await room.unfinished()).toEqual([])
    expect(fetched).toBeLessThan(MiB)
  })
})

describe('a restore of a range', () => {
  const one = { vm: parseVmName('work'), volumes: [parseVolumeName('private')] }

  it.each([
    [0, 1],
    [256 * KiB - 1, 2],
    [4 * MiB + 17, 8 * MiB],
    [6 * MiB, MiB],
    [20 * MiB + 99, 1],
    [0, 20 * MiB + 100],
  ])('at %i of %i bytes is a file of exactly these', async (offset, length) => {
    await using room = await open()
    const outcome = await restore(room, { ...one, range: { offset, length } })
    expect(outcome).toMatchObject({ volumes: 1, bytes: length, warnings: [] })
    const file = `work/private.${offset}+${length}.img`
    expect(await room.files()).toEqual([file])
    const expected = original.subarray(offset, offset + length)
    expect(Buffer.compare(await readFile(path.join(room.target, file)), expected)).toBe(0)
    expect(fetched).toBeLessThan(length + MiB)
  })

  it('that ends beyond the volume is refused', async () => {
    await using room = await open()
    const range = { offset: 20 * MiB, length: 101 }
    await expect(restore(room, { ...one, range })).rejects.toMatchObject({ code: 'RANGE_OUTSIDE' })
    expect(await room.files()).toEqual([])
  })

  it('that was interrupted leaves nothing', async () => {
    await using room = await open()
    const stop = new AbortController()
    const soon = ({ bytesDone }: { bytesDone: number }) => {
      if (bytesDone > 0) stop.abort(new Error('cancelled'))
    }
    const range = { offset: 11 * MiB, length: 8 * MiB }
    await expect(restore(room, { ...one, range }, soon, stop.signal)).rejects.toThrow('cancelled')
    expect([...(await room.files()), ...(await room.unfinished())]).toEqual([])
  })

  it('is withheld when the storage has something else there', async () => {
    const broken = counting()
    const damaged: ObjectStore = {
      ...broken,
      get: async (name, range, signal) => {
        const answer = await broken.get(name, range, signal)
        return answer.parse(bytes => {
          const changed = Uint8Array.from(bytes)
          if (bytes.byteLength > 200 * KiB) changed[1000] = (changed[1000] ?? 0) ^ 1
          return { parse: use => use(changed) } as typeof answer
        })
      },
    }
    await using room = await makeRoom(honest(damaged))
    const range = { offset: 12 * MiB, length: 100 }
    await expect(restore(room, { ...one, range })).rejects.toMatchObject({ code: 'CHECK_FAILED' })
    expect([...(await room.files()), ...(await room.unfinished())]).toEqual([])
  })
})
