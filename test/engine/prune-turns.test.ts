import { describe, expect, it, vi } from 'vitest'
import { requireRetention } from '../../src/engine/prune.ts'
import { parseEntry } from '../../src/ledger/entry.ts'
import type { Profile } from '../../src/profiles/profile.ts'
import { hasEnded, type JobKind } from '../../src/qrexec/calls/orders.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { orderOf, seal } from '../support/engine.ts'
import { type PruneBench, profileWith, pruneBench } from './prune-bench.ts'

/* Many jobs, on a machine that may have others to do. */
vi.setConfig({ testTimeout: 120_000 })

async function bench(): Promise<PruneBench> {
  const one = await pruneBench(profileWith('{ keep_last: 1 }'))
  for (let round = 0; round < 3; round++) await one.backUp(1024, 512 * (round % 2))
  return one
}

const order = (one: PruneBench, kind: JobKind) => orderOf(one, { kind })

/** Storage holds at the first operation that `which` names, until it is let go. */
function holdAt(one: PruneBench, which: (operation: string, name: string) => boolean) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  one.storage.faults.before = (operation, name) => {
    if (!which(operation, name)) return
    reached.resolve()
    return promise
  }
  return { reached: reached.promise, letGo: resolve }
}

const stateOf = (one: PruneBench, id: Parameters<PruneBench['orders']['cancel']>[0]) => {
  const { state, progress } = one.orders.board.get(id)
  return `${state} ${progress.phase}`
}

describe('a prune and other jobs of its repository', () => {
  it('waits for a backup that is running, and then takes its snapshot into account', async () => {
    const one = await bench()
    const held = holdAt(one, (operation, name) => operation === 'put' && name.startsWith('index/'))
    const backup = await one.orders.order(order(one, 'backup'))
    await held.reached
    const prune = await one.orders.order(order(one, 'prune'))
    await vi.waitFor(() => expect(stateOf(one, prune.id)).toBe('waiting queued'))
    held.letGo()
    const [first, second] = [await one.orders.ended(backup.id), await one.orders.ended(prune.id)]
    expect([first.state, second.state]).toEqual(['done', 'done'])
    expect(second.started?.getTime()).toBeGreaterThanOrEqual(first.ended?.getTime() ?? Number.NaN)
    expect(one.history().snapshots.map(({ snapshotId }) => snapshotId)).toEqual([first.outcome?.snapshot])
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('is waited for by a backup, which uses the index that it has left', async () => {
    const one = await bench()
    const held = holdAt(one, operation => operation === 'remove')
    const prune = await one.orders.order(order(one, 'prune'))
    await held.reached
    const backup = await one.orders.order(order(one, 'backup'))
    await vi.waitFor(() => expect(stateOf(one, backup.id)).toBe('waiting queued'))
    held.letGo()
    expect((await one.orders.ended(prune.id)).state).toBe('done')
    expect((await one.orders.ended(backup.id)).state).toBe('done')
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it.each(['backup', 'check', 'restore'] as const)(
    'holds up a %s, which may be cancelled while it waits',
    async kind => {
      const one = await bench()
      const held = holdAt(one, operation => operation === 'remove')
      const prune = await one.orders.order(order(one, 'prune'))
      await held.reached
      const other = await one.orders.order(order(one, kind))
      await vi.waitFor(() => expect(stateOf(one, other.id)).toBe('waiting queued'))
      const released = one.released.length
      one.orders.cancel(other.id)
      expect(await one.orders.ended(other.id)).toMatchObject({ state: 'cancelled', started: null })
      expect(one.released.length).toBe(released)
      held.letGo()
      expect((await one.orders.ended(prune.id)).state).toBe('done')
    },
  )

  it('is overtaken by a backup while it waits', async () => {
    const one = await bench()
    const held = holdAt(one, (operation, name) => operation === 'put' && name.startsWith('snapshots/'))
    const slow = await one.orders.order(order(one, 'backup'))
    await held.reached
    const prune = await one.orders.order(order(one, 'prune'))
    const check = await one.orders.order(order(one, 'check'))
    await vi.waitFor(() => expect(one.orders.board.get(check.id).started).not.toBeNull())
    expect(stateOf(one, prune.id)).toBe('waiting queued')
    held.letGo()
    await one.orders.ended(slow.id)
    await one.orders.ended(check.id)
    expect((await one.orders.ended(prune.id)).state).toBe('done')
  })

  it('is refused while another one runs', async () => {
    const one = await bench()
    const held = holdAt(one, operation => operation === 'remove')
    await one.orders.order(order(one, 'prune'))
    await held.reached
    await expect(one.orders.order(order(one, 'prune'))).rejects.toMatchObject({ code: 'JOB_RUNNING' })
    held.letGo()
  })
})

describe('a prune during which another configuration is sealed', () => {
  const keeping = (keepLast: number) => (profile: Profile) => ({
    profile: { ...profile, retention: { ...requireRetention(profile), keepLast } },
  })
  const atIndex = (operation: string, name: string) => operation === 'put' && name.startsWith('index/')

  /** One that waits for a backup, and until then for what `meanwhile` does. */
  async function waitingPrune(meanwhile: (one: PruneBench) => Promise<unknown>) {
    const one = await bench()
    const held = holdAt(one, atIndex)
    const backup = await one.orders.order(order(one, 'backup'))
    await held.reached
    const prune = await one.orders.order(order(one, 'prune'))
    await vi.waitFor(() => expect(stateOf(one, prune.id)).toBe('waiting queued'))
    await meanwhile(one)
    held.letGo()
    await one.orders.ended(backup.id)
    return { one, job: await one.orders.ended(prune.id) }
  }

  it('follows it when that came before its turn', async () => {
    const { one, job } = await waitingPrune(one => seal(one, keeping(3)))
    expect([job.error, one.history().snapshots.length]).toEqual([null, 3])
    const { digest } = await one.ports.configuration.current()
    expect(one.released.at(-1)).toMatchObject({ purpose: 'prune', configuration: digest })
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('has nothing to do with a repository that is of an older epoch by its turn', async () => {
    const { one, job } = await waitingPrune(one =>
      seal(one, (_, binding) => ({ binding: { ...binding, epoch: 2 } })),
    )
    expect([job.error?.code, one.history().snapshots.length]).toEqual(['REPOSITORY_UNKNOWN', 4])
  })

  it.each<[string, Parameters<typeof seal>[1]]>([
    ['keeps one more', keeping(2)],
    ['keeps all', profile => ({ profile: { ...profile, retention: null } })],
    ['has a new epoch', (_, binding) => ({ binding: { ...binding, epoch: 2 } })],
  ])('forgets nothing when that came while it was at work, and %s', async (_, change) => {
    const one = await bench()
    const held = holdAt(one, atIndex)
    const { id } = await one.orders.order(order(one, 'prune'))
    await held.reached
    await seal(one, change)
    held.letGo()
    const job = await one.orders.ended(id)
    expect(job.error).toMatchObject({ code: 'RETENTION_CHANGED', kind: 'conflict' })
    expect([one.history().snapshots.length, one.storage.grants]).toEqual([3, []])
    expect(await one.check()).toMatchObject({ sound: true })
  })

  it('goes on when it was to forget no more than that, and names it in the ledger', async () => {
    const one = await bench()
    await seal(one, keeping(2))
    const held = holdAt(one, atIndex)
    const { id } = await one.orders.order(order(one, 'prune'))
    await held.reached
    const { digest } = await seal(one, keeping(1))
    held.letGo()
    expect([(await one.orders.ended(id)).error, one.history().snapshots.length]).toEqual([null, 2])
    const forgets = []
    for await (const { bytes } of (await one.openLedger()).entries()) {
      const entry = parseEntry(bytes)
      if (entry.type === 'forget') forgets.push(entry.configuration)
    }
    expect(forgets).toEqual([digest])
  })
})

describe('what an interrupted backup has stored', () => {
  it('stays for the next one to go on with, and is removed when that has no use for it', async () => {
    const one = await bench()
    const before = new Set(one.storage.objects.keys())
    one.storage.faults.before = (operation, name) => {
      if (operation === 'put' && name.startsWith('index/')) throw new StorageError('STORAGE_IO', 'planted')
    }
    await expect(one.backUp(1536, 256)).rejects.toThrow('STORAGE_IO')
    one.storage.faults = {}
    const left = [...one.storage.objects.keys()].filter(name => !before.has(name))
    expect(left.filter(name => name.startsWith('data/')).length).toBeGreaterThan(0)

    expect((await one.prune()).state).toBe('done')
    for (const name of left) expect(one.storage.objects.has(name), name).toBe(true)
    const { outcome } = await one.orders.ended((await one.orders.order(order(one, 'backup'))).id)
    expect(outcome?.bytesStored).toBeLessThan(100_000)
    expect(await one.check()).toMatchObject({ sound: true })

    await one.backUp(1536, 256)
    await one.prune()
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})

describe('cancelling a prune', () => {
  it.each([
    ['while it looks', (operation: string) => operation === 'list'],
    [
      'while it rewrites',
      (operation: string, name: string) => operation === 'put' && name.startsWith('data/'),
    ],
    [
      'before it decides',
      (operation: string, name: string) => operation === 'put' && name.startsWith('index/'),
    ],
  ])('%s forgets and removes nothing, and the next one cleans up', async (_, which) => {
    const one = await bench()
    const held = holdAt(one, which)
    const { id } = await one.orders.order(order(one, 'prune'))
    await held.reached
    one.orders.cancel(id)
    held.letGo()
    expect((await one.orders.ended(id)).state).toBe('cancelled')
    expect([one.history().snapshots.length, one.storage.grants]).toEqual([3, []])
    one.storage.faults = {}
    expect(await one.check()).toMatchObject({ sound: true })
    expect((await one.prune()).state).toBe('done')
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('while it removes leaves the rest to the next one', async () => {
    const one = await bench()
    const held = holdAt(one, (operation, name) => operation === 'remove' && name.startsWith('data/'))
    const { id } = await one.orders.order(order(one, 'prune'))
    await held.reached
    one.orders.cancel(id)
    held.letGo()
    const job = await one.orders.ended(id)
    expect([job.state, hasEnded(job), one.history().snapshots.length]).toEqual(['cancelled', true, 1])
    one.storage.faults = {}
    expect(await one.check()).toMatchObject({ sound: true })
    expect((await one.prune()).outcome).toMatchObject({ prune: { forgotten: 0 } })
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})
