import { cp, readFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { parseSnapshotId, type SnapshotId } from '../../src/base/names.ts'
import { type EntryOf, parseEntry } from '../../src/ledger/entry.ts'
import { summariseObjects } from '../../src/repository/packs-root.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { type ObjectName, objectName } from '../../src/storage/object-store.ts'
import { type BenchOptions, mgmt } from '../support/engine.ts'
import type { MemoryStoreFaults } from '../support/memory-store.ts'
import { type PruneBench, profileWith, pruneBench, resticOn } from './prune-bench.ts'

/* Many jobs, on a machine that may have others to do. */
vi.setConfig({ testTimeout: 120_000 })

const day = 24 * 3_600_000
async function bench(
  profileText = profileWith('{ keep_last: 2 }'),
  options?: BenchOptions,
): Promise<PruneBench> {
  const made = await pruneBench(profileText, options)
  return made
}

/** Backups of which each makes a part of the one before superfluous. */
async function backUpDays(one: PruneBench, count: number): Promise<SnapshotId[]> {
  const made: SnapshotId[] = []
  for (let round = 0; round < count; round++) {
    const { outcome } = await one.backUp(2048 - 256 * (round % 4), 256 * (round % 2))
    made.push(parseSnapshotId(outcome?.snapshot ?? ''))
  }
  return made
}

const snapshotsOf = (one: PruneBench) => one.history().snapshots.map(({ snapshotId }) => snapshotId)
const stored = (one: PruneBench, kind: string) =>
  [...one.storage.objects.keys()].filter(name => name.startsWith(`${kind}/`))

async function entriesOf<T extends 'forget' | 'prune' | 'hold' | 'hold-end' | 'refusal'>(
  one: PruneBench,
  type: T,
) {
  const found: (EntryOf<T> & { index: number })[] = []
  for await (const { index, bytes } of (await one.openLedger()).entries()) {
    const entry = parseEntry(bytes)
    if (entry.type === type) found.push({ ...(entry as EntryOf<T>), index })
  }
  return found
}

/** Stock restic finds nothing wrong with what is in storage. */
async function expectSoundForRestic(one: PruneBench): Promise<void> {
  await using restic = await resticOn(one.storage)
  expect(await restic.run('check', '--read-data')).toContain('no errors were found')
}

const refusing =
  (
    code: 'STORAGE_GRACE' | 'STORAGE_APPEND_ONLY',
    which: (name: string) => boolean,
  ): NonNullable<MemoryStoreFaults['before']> =>
  (operation, name) => {
    if (operation === 'remove' && which(name)) throw new StorageError(code, 'planted')
  }

describe('a prune', () => {
  it('forgets what the retention does not keep, removes what nobody needs, and leaves a sound repository', async () => {
    const one = await bench()
    const made = await backUpDays(one, 5)
    await cp(one.machine, path.join(one.directory, 'newest'), { recursive: true })
    const before = one.storage.bytesStored
    const foreseen = await one.prune({ dryRun: true })
    expect([foreseen.error, one.storage.bytesStored, snapshotsOf(one)]).toEqual([null, before, made])

    const { error, outcome } = await one.prune()
    expect(error).toBeNull()
    expect(outcome).toMatchObject({ snapshots: 2, prune: { dryRun: false, forgotten: 3 }, warnings: [] })
    expect(foreseen.outcome?.prune).toEqual({ ...outcome?.prune, dryRun: true })
    expect(outcome?.prune?.packsRewritten).toBeGreaterThan(0)
    expect(before - one.storage.bytesStored).toBe(
      (outcome?.prune?.bytesFreed ?? 0) - (outcome?.bytesStored ?? 0),
    )
    expect(snapshotsOf(one)).toEqual(made.slice(3))
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    expect(one.released.at(-1)).toMatchObject({ purpose: 'prune', initiator: mgmt })

    await using restic = await resticOn(one.storage)
    expect(await restic.run('check', '--read-data')).toContain('no errors were found')
    const target = path.join(restic.directory, 'restored')
    await restic.run('restore', 'latest', '--target', target)
    for (const vm of ['work', 'personal']) {
      const image = await readFile(path.join(one.directory, 'newest', vm, 'private.img'))
      expect(image.equals(await readFile(path.join(target, 'volumes', vm, 'private.img')))).toBe(true)
    }
  })

  it('is in the ledger before anything is removed, and each removal is under that entry', async () => {
    const one = await bench()
    const made = await backUpDays(one, 4)
    const before = new Map([...one.storage.objects].map(([name, body]) => [name, body.byteLength]))
    await one.prune()
    const [forget] = await entriesOf(one, 'forget')
    const [prune] = await entriesOf(one, 'prune')
    expect(forget).toMatchObject({ snapshots: made.slice(0, 2), configuration: 'ab'.repeat(32) })
    expect(one.storage.grants.length).toBeGreaterThan(5)
    const removed = one.storage.grants.map(({ name, entry }) => {
      expect(entry).toBe(prune?.index)
      return { name, bytes: before.get(name) ?? 0 }
    })
    expect(prune?.removed).toEqual(summariseObjects(removed))
    const kinds = one.storage.grants.map(({ name }) => name.split('/')[0])
    expect(kinds).toEqual(kinds.toSorted((a, b) => order.indexOf(a) - order.indexOf(b)))
  })
  const order: (string | undefined)[] = ['snapshots', 'index', 'data']

  it('with nothing to do writes nothing', async () => {
    const one = await bench()
    await backUpDays(one, 2)
    const { puts, objects } = { puts: one.storage.calls.put, objects: one.storage.objects.size }
    const { outcome } = await one.prune()
    expect(outcome).toMatchObject({ bytesStored: 0, prune: { forgotten: 0, packsRemoved: 0, bytesFreed: 0 } })
    expect([one.storage.calls.put, one.storage.objects.size]).toEqual([puts, objects])
    expect(await entriesOf(one, 'prune')).toEqual([])
  })

  it('leaves dom0 with what the next backup needs, and the backup reads nothing from storage', async () => {
    const one = await bench()
    await backUpDays(one, 4)
    await one.prune()
    const { get, list } = one.storage.calls
    const first = one.storage.bytesStored
    await one.backUp(256)
    expect([one.storage.calls.get, one.storage.calls.list]).toEqual([get, list])
    expect(one.storage.bytesStored - first).toBeLessThan(600_000)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('may follow another, many times', async () => {
    const one = await bench(profileWith('{ keep_last: 1, keep_weekly: 2 }'))
    for (let round = 0; round < 5; round++) {
      await backUpDays(one, 3)
      expect((await one.prune()).error).toBeNull()
      expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    }
    await expectSoundForRestic(one)
  })

  it('without retention is refused, before anything is asked of the HSM VM', async () => {
    const one = await bench(
      'include: [ work ]\ndestination_vm: store\ndestination_path: /b\npassphrase_vm: vault\n',
    )
    await expect(one.prune()).rejects.toMatchObject({ code: 'RETENTION_MISSING', kind: 'refused' })
    expect(one.released).toEqual([])
  })

  it('of a profile that was never backed up fails, and releases nothing', async () => {
    const one = await bench()
    expect(await one.prune()).toMatchObject({ state: 'failed', error: { code: 'REPOSITORY_UNKNOWN' } })
    expect(one.released).toEqual([])
  })

  it.each(['data', 'index', 'snapshots'])(
    'of a repository that lost one of %s removes nothing',
    async kind => {
      const one = await bench()
      await backUpDays(one, 4)
      for (const lost of stored(one, kind).slice(-1)) one.storage.objects.delete(lost as ObjectName)
      expect(await one.prune()).toMatchObject({ error: { code: 'NEEDED_MISSING', kind: 'integrity' } })
      expect([one.storage.grants, await entriesOf(one, 'forget')]).toEqual([[], []])
    },
  )
})

describe('nobody but the sealed retention makes a prune forget', () => {
  it('not how often it is ordered', async () => {
    const one = await bench(profileWith('{ keep_daily: 3 }'))
    const made = await backUpDays(one, 5)
    for (let round = 0; round < 4; round++) await one.prune()
    expect(snapshotsOf(one)).toEqual(made.slice(2))
  })

  it('not a clock that is set ahead', async () => {
    const one = await bench(profileWith('{ keep_within_days: 2 }'))
    const made = await backUpDays(one, 5)
    one.clock.time += 10_000 * day
    expect((await one.prune()).outcome?.prune?.forgotten).toBe(3)
    expect(snapshotsOf(one)).toEqual(made.slice(3))
  })

  it('not what the storage lists: it goes by the ledger', async () => {
    const one = await bench()
    const made = await backUpDays(one, 2)
    for (const junk of ['ab', 'cd', 'ef'])
      one.storage.objects.set(objectName('snapshots', junk.repeat(32)), new Uint8Array(40))
    const { outcome } = await one.prune()
    expect(outcome?.warnings).toEqual([
      '3 snapshot objects in storage are not the ledger’s, and were left alone',
    ])
    expect([snapshotsOf(one), one.storage.grants]).toEqual([made, []])
  })

  it('and never the newest, whatever happens', async () => {
    const one = await bench(profileWith('{ keep_last: 1 }'))
    const made = await backUpDays(one, 3)
    one.clock.time = 0
    await one.prune()
    one.clock.time = Date.parse('9999-12-31T00:00:00Z')
    await one.prune()
    expect(snapshotsOf(one)).toEqual(made.slice(2))
    expect(await one.check()).toMatchObject({ sound: true })
  })
})

describe('a hold', () => {
  const hold = (one: PruneBench, snapshot: SnapshotId, days: number) =>
    one.orders.hold(
      { profile: one.profile, snapshot, initiator: mgmt },
      new Date(one.clock.time + days * day),
    )
  const end = (one: PruneBench, snapshot: SnapshotId) =>
    one.orders.endHold({ profile: one.profile, snapshot, initiator: mgmt })
  const first = async (one: PruneBench, count = 4): Promise<SnapshotId> => {
    const [made] = await backUpDays(one, count)
    if (made === undefined) throw new Error('no snapshot')
    return made
  }

  it('keeps a snapshot until its date, and not a day longer', async () => {
    const one = await bench()
    const held = await first(one)
    expect(await hold(one, held, 3)).toMatchObject({ snapshot: held, keptBy: ['held'] })
    await one.prune()
    expect(snapshotsOf(one)[0]).toBe(held)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    one.clock.time += 10 * day
    await one.prune()
    expect(snapshotsOf(one)[0], 'a clock alone ends no hold').toBe(held)
    await backUpDays(one, 1)
    await one.prune()
    expect(snapshotsOf(one)).toHaveLength(2)
    expect(snapshotsOf(one)).not.toContain(held)
  })

  it('is recorded once, and again only if it becomes longer', async () => {
    const one = await bench()
    const held = await first(one)
    for (const days of [5, 5, 2]) await hold(one, held, days)
    const { heldUntil } = await hold(one, held, 6)
    expect((await entriesOf(one, 'hold')).map(({ until }) => until)).toEqual([
      new Date(Math.ceil((one.clock.time + 5 * day) / day) * day),
      heldUntil,
    ])
  })

  it.each([
    ['in the past', -1, 'would be over already'],
    ['further ahead than is sealed', 400, 'at most 366 days are sealed'],
  ])('is refused %s', async (_, days, why) => {
    const one = await bench()
    const held = await first(one, 1)
    await expect(hold(one, held, days)).rejects.toMatchObject({
      code: 'HOLD_DATE',
      kind: 'refused',
      message: expect.stringContaining(why),
    })
    expect(await entriesOf(one, 'hold')).toEqual([])
  })

  it('is refused of what is no snapshot, or none any more', async () => {
    const one = await bench()
    const gone = await first(one)
    await one.prune()
    for (const snapshot of [gone, parseSnapshotId('12'.repeat(32))])
      await expect(hold(one, snapshot, 1)).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
  })

  it('ends before its date only where that is sealed', async () => {
    const fixed = await bench()
    const held = await first(fixed, 1)
    await expect(end(fixed, held)).rejects.toMatchObject({ code: 'HOLD_NOT_FOUND' })
    await hold(fixed, held, 2)
    await expect(end(fixed, held)).rejects.toMatchObject({ code: 'HOLD_FIXED', kind: 'refused' })
    const refusals = (await entriesOf(fixed, 'refusal')).map(({ code }) => code)
    expect(refusals).toEqual(['HOLD_NOT_FOUND', 'HOLD_FIXED'])

    const free = await bench(profileWith('{ keep_last: 2 }', '  holds: { may_end: yes }\n'))
    const other = await first(free)
    await hold(free, other, 2)
    expect(await end(free, other)).toMatchObject({ heldUntil: null, keptBy: [] })
    await free.prune()
    expect(snapshotsOf(free)).not.toContain(other)
  })

  it('that comes while a prune is at work stops it before anything is forgotten', async () => {
    const one = await bench()
    const held = await first(one)
    let holding: Promise<unknown> | null = null
    one.storage.faults.before = (operation, name) => {
      if (operation === 'put' && name.startsWith('index/')) holding ??= hold(one, held, 3)
    }
    const job = await one.prune()
    await holding
    expect(job).toMatchObject({ state: 'failed', error: { code: 'HELD_MEANWHILE', kind: 'conflict' } })
    expect([one.storage.grants, snapshotsOf(one)[0]]).toEqual([[], held])
    one.storage.faults = {}
    expect((await one.prune()).error).toBeNull()
    expect(snapshotsOf(one)[0]).toBe(held)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})

describe('a storage that does not remove', () => {
  it('because it only appends: everything stays, the ledger has forgotten, and stock restic sees no fault', async () => {
    const one = await bench()
    await backUpDays(one, 4)
    one.storage.faults.before = refusing('STORAGE_APPEND_ONLY', () => true)
    const { state, outcome } = await one.prune()
    expect([state, outcome?.prune?.packsRemoved, outcome?.prune?.bytesFreed]).toEqual(['done', 0, 0])
    expect(outcome?.warnings[0]).toMatch(/^\d+ objects of \d+\.\d MiB stay for now/)
    expect(snapshotsOf(one)).toHaveLength(2)
    expect(await one.check()).toMatchObject({ sound: true })
    await expectSoundForRestic(one)

    one.storage.faults = {}
    expect((await one.prune()).outcome).toMatchObject({ prune: { forgotten: 0 }, warnings: [] })
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    await expectSoundForRestic(one)
  })

  it('an index yet keeps the packs that it names, too', async () => {
    const one = await bench()
    await backUpDays(one, 4)
    const young = one.history().indexSets[1]?.index.map(({ id }) => `index/${id}`) ?? []
    one.storage.faults.before = refusing('STORAGE_GRACE', name => young.includes(name))
    const { outcome } = await one.prune()
    expect(outcome?.prune?.packsRemoved).toBeGreaterThan(0)
    expect(outcome?.warnings).toHaveLength(1)
    await expectSoundForRestic(one)

    one.storage.faults = {}
    await one.prune()
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('a snapshot yet keeps everything else that may go', async () => {
    const one = await bench()
    await backUpDays(one, 4)
    const [old] = one.history().snapshots
    one.storage.faults.before = refusing('STORAGE_GRACE', name => name === `snapshots/${old?.snapshot.id}`)
    await one.prune()
    expect(one.storage.grants.map(({ name }) => name.split('/')[0])).toEqual(['snapshots'])
    await expectSoundForRestic(one)
  })

  it('for want of a witness is not asked to', async () => {
    let away = true
    const publish = async () => {
      if (away) throw new StorageError('STORAGE_UNAVAILABLE', 'the HSM VM is away')
    }
    const one = await bench(undefined, { publish })
    await backUpDays(one, 4)
    const job = await one.prune()
    expect([job.state, job.outcome?.warnings.length, one.storage.grants]).toEqual(['done', 1, []])
    expect(snapshotsOf(one)).toHaveLength(2)
    away = false
    await one.prune()
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('that is full still frees what no snapshot needs', async () => {
    const one = await bench()
    await backUpDays(one, 5)
    one.storage.faults.before = (operation, name) => {
      if (operation === 'put' && name.startsWith('data/')) throw new StorageError('STORAGE_QUOTA', 'planted')
    }
    const { outcome } = await one.prune()
    expect(outcome?.prune?.packsRewritten).toBe(0)
    expect(outcome?.prune?.packsRemoved).toBeGreaterThan(0)
    expect(outcome?.warnings).toEqual([expect.stringMatching(/^\d+ packs were not rewritten/)])
    one.storage.faults = {}
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    expect((await one.prune()).outcome?.prune?.packsRewritten).toBeGreaterThan(0)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('or lists no more than it has to, and answers later with other bytes, cannot make a prune lose anything', async () => {
    const one = await bench()
    const made = await backUpDays(one, 4)
    one.storage.faults.served = (name, body) => (name.startsWith('data/') ? body.fill(7) : body)
    expect((await one.prune()).error?.kind).toBe('integrity')
    expect([snapshotsOf(one), one.storage.grants]).toEqual([made, []])
    one.storage.faults = {}
    expect(await one.check()).toMatchObject({ sound: true })
  })
})
