import { duplexPair } from 'node:stream'
import { expect, it } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import { dom0, parseDigest, parseSnapshotId, parseVmName } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { recordDestroyed } from '../../src/engine/epochs.ts'
import { serveEpochs } from '../../src/engine/serve-epochs.ts'
import { summariesOf } from '../../src/engine/snapshots.ts'
import { epochDestroyed } from '../../src/qrexec/calls/epochs.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer } from '../../src/qrexec/server.ts'
import { StorageError } from '../../src/storage/errors.ts'
import type { ObjectKind } from '../../src/storage/object-store.ts'
import { type EngineBench, mgmt, run, seal, testBench } from '../support/engine.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { profileWith } from './prune-bench.ts'

/* A profile whose key was changed: each epoch has its own repository, and all but backups is about each of them. */

const never = new AbortController().signal
const day = 24 * 3_600_000
const empty = {
  snapshot: undefined,
  bytes: undefined,
  bytesStored: undefined,
  volumes: undefined,
  objects: undefined,
  snapshots: undefined,
  prune: undefined,
  drill: undefined,
}

interface EpochBench {
  /** What happens when a job has its passphrase and opens the storage. */
  whenOpened: (repository: string) => Promise<unknown>
  readonly one: EngineBench
  readonly stores: Map<string, MemoryStore>
  backUp(): Promise<string>
  /** Epochs whose passphrase was released since the last look. */
  released(): readonly number[]
}

async function epochBench(retention: string): Promise<EpochBench> {
  const stores = new Map<string, MemoryStore>()
  const open = async (_: unknown, repository: string) => {
    await bench.whenOpened(repository)
    const store = stores.get(repository) ?? new MemoryStore({ appendOnly: false })
    stores.set(repository, store)
    return Object.assign(store, { [Symbol.asyncDispose]: async () => {} })
  }
  const clock = new SteppedClock('2026-03-02T12:00:00Z')
  const one = await testBench({
    profileText: profileWith(retention),
    environment: { ...systemEnvironment, clock },
    ports: { storage: open, prunable: open },
    examiner: {
      check: async ({ history }) => ({
        fault: null,
        proven: null,
        outcome: { ...empty, snapshots: history.snapshots.length, warnings: ['seen'] },
      }),
      restore: async ({ history }, snapshot) => ({
        ...empty,
        snapshot: parseSnapshotId(snapshot),
        warnings: [`from ${history.repository}`],
      }),
    },
  })
  const bench: EpochBench = {
    one,
    stores,
    whenOpened: async () => {},
    async backUp() {
      clock.time += day
      const { state, outcome } = await run(one)
      expect(state).toBe('done')
      return outcome?.snapshot ?? ''
    },
    released: () => one.released.splice(0).map(({ epoch }) => epoch),
  }
  return bench
}

/** The next epoch, with the one before sealed for reading unless told otherwise. */
function sealEpoch(one: EngineBench, epoch: number, earlier: readonly number[]) {
  const sealed = (number: number) => ({ epoch: number, envelope: parseDigest(`${number}`.repeat(64)) })
  return seal(one, (_, binding) => ({
    binding: { ...binding, ...sealed(epoch), earlier: earlier.map(sealed) },
  }))
}

async function countOf(store: MemoryStore | undefined, kind: ObjectKind): Promise<number> {
  let count = 0
  if (store !== undefined) for await (const _ of store.list(kind, never)) count += 1
  return count
}

const restore = (one: EngineBench, snapshot: string | null) =>
  run(one, { kind: 'restore', snapshot: snapshot === null ? null : parseSnapshotId(snapshot) })
const check = (one: EngineBench) => run(one, { kind: 'check', read: parseReadChoice('all') })

it('backups go into the new epoch, and all else is done in each', async () => {
  const { one, stores, backUp, released } = await epochBench('{ keep_last: 1 }')
  const first = await backUp()
  await sealEpoch(one, 2, [1])
  expect((await restore(one, null)).outcome).toMatchObject({ snapshot: first })
  const second = await backUp()
  expect(released()).toEqual([1, 1, 2])
  expect(await countOf(stores.get('nightly.e2'), 'data')).toBe(
    await countOf(stores.get('nightly.e1'), 'data'),
  )

  expect((await restore(one, first)).outcome?.warnings).toEqual(['from nightly.e1'])
  expect((await restore(one, null)).outcome).toMatchObject({
    snapshot: second,
    warnings: ['from nightly.e2'],
  })
  expect((await check(one)).outcome).toMatchObject({
    snapshots: 2,
    warnings: ['epoch 2: seen', 'epoch 1: seen'],
  })
  expect(released()).toEqual([1, 2, 2, 1])
  const listed = await summariesOf(one.ports, one.profile)
  expect(listed.map(({ epoch, keptBy }) => [epoch, keptBy])).toEqual([
    [1, []],
    [2, ['newest', 'last']],
  ])

  // All of the earlier epoch goes, the key file apart, which nobody grants the removal of.
  const pruned = await run(one, { kind: 'prune' })
  expect(pruned.outcome).toMatchObject({ snapshots: 1, prune: { forgotten: 1 } })
  for (const kind of ['data', 'index', 'snapshots'] as const)
    expect(await countOf(stores.get('nightly.e1'), kind), kind).toBe(0)
  expect(await countOf(stores.get('nightly.e2'), 'snapshots')).toBe(1)
  released()
  expect((await check(one)).outcome?.snapshots).toBe(1)
  expect(released()).toEqual([2])
  expect((await restore(one, first)).error?.code).toBe('SNAPSHOT_NOT_FOUND')
})

it('an epoch whose passphrase is destroyed is recorded once, and asked for no more', async () => {
  const { one, backUp, released } = await epochBench('{ keep_last: 1 }')
  await backUp()
  await sealEpoch(one, 2, [1])
  await backUp()
  const vault = parseVmName('vault')
  const destroyed = (epoch: number, source = vault) =>
    recordDestroyed(one.ports, { profile: one.profile, epoch, source })
  await expect(destroyed(1)).rejects.toMatchObject({ code: 'EPOCH_IN_USE' })
  await run(one, { kind: 'prune' })
  await expect(destroyed(2)).rejects.toMatchObject({ code: 'EPOCH_IN_USE' })
  await expect(destroyed(1, mgmt)).rejects.toMatchObject({ code: 'PROFILE_NOT_FOUND' })
  const entry = await destroyed(1)
  expect(await destroyed(1)).toBe(entry)
  expect([...one.ledger.destroyedEpochs(one.profile)]).toEqual([[1, entry]])
  released()
  expect((await run(one, { kind: 'prune' })).state).toBe('done')
  expect(released()).toEqual([2])
})

it('retention counts over epochs, and a hold keeps what is in an earlier one', async () => {
  const { one, backUp } = await epochBench('{ keep_last: 2 }')
  const oldest = await backUp()
  const before = await backUp()
  await sealEpoch(one, 2, [1])
  const newest = await backUp()
  const until = new Date(one.ports.environment.clock.now().getTime() + 10 * day)
  const request = { profile: one.profile, snapshot: parseSnapshotId(oldest), initiator: mgmt }
  await one.orders.hold(request, until)
  const reasons = async () =>
    (await summariesOf(one.ports, one.profile)).map(({ snapshot, keptBy }) => [snapshot, keptBy])
  expect(await reasons()).toEqual([
    [oldest, ['held']],
    [before, ['last']],
    [newest, ['newest', 'last']],
  ])
  expect((await run(one, { kind: 'prune' })).outcome?.prune?.forgotten).toBe(0)
})

it('an epoch that is not sealed is left alone, and its snapshots are listed as such', async () => {
  const { one, stores, backUp, released } = await epochBench('{ keep_last: 1 }')
  const first = await backUp()
  await sealEpoch(one, 2, [])
  await backUp()
  const packs = await countOf(stores.get('nightly.e1'), 'data')
  expect((await run(one, { kind: 'prune' })).outcome?.prune?.forgotten).toBe(0)
  expect(await countOf(stores.get('nightly.e1'), 'data')).toBe(packs)
  expect((await restore(one, first)).error?.code).toBe('SNAPSHOT_NOT_FOUND')
  expect(released()).toEqual([1, 2, 2])
  expect((await summariesOf(one.ports, one.profile))[0]).toMatchObject({ keptBy: ['older-epoch'] })
})

it('a check where no epoch has a snapshot says so', async () => {
  const { one, stores } = await epochBench('{ keep_last: 1 }')
  // The repository is pinned; then the storage takes no pack.
  const failing = new MemoryStore({ appendOnly: false })
  failing.faults.before = (operation, name) => {
    if (operation === 'put' && name.startsWith('data/')) throw new StorageError('STORAGE_IO', 'planted')
  }
  stores.set('nightly.e1', failing)
  expect((await run(one)).state).toBe('failed')
  expect(one.ledger.repository(one.profile, 1)?.snapshots).toEqual([])
  await sealEpoch(one, 2, [1])
  expect((await check(one)).error?.code).toBe('REPOSITORY_UNKNOWN')
})

it('a backup whose epoch is destroyed while it runs fails, rather than store what nobody can read', async () => {
  const bench = await epochBench('{ keep_last: 1 }')
  const { one, stores } = bench
  const source = parseVmName('vault')
  bench.whenOpened = async () => {
    bench.whenOpened = async () => {}
    await sealEpoch(one, 2, [])
    await recordDestroyed(one.ports, { profile: one.profile, epoch: 1, source })
  }
  expect(await run(one)).toMatchObject({ state: 'failed', error: { code: 'EPOCH_DESTROYED' } })
  expect(await countOf(stores.get('nightly.e1'), 'snapshots')).toBe(0)
  await bench.backUp()
  expect(one.ledger.repository(one.profile, 2)?.snapshots).toHaveLength(1)
})

it('an HSM VM cannot fill the ledger with epochs that never were, or by saying one at once many times', async () => {
  const { one, backUp } = await epochBench('{ keep_last: 1 }')
  await backUp()
  await sealEpoch(one, 2, [1])
  await backUp()
  await run(one, { kind: 'prune' })
  const dom0Calls = createServer(serveEpochs(one.ports), { log: silentLog })
  const tell = async (profile: string, epoch: number) => {
    const [here, there] = duplexPair()
    dom0Calls.accept(there)
    const source = parseVmName('vault')
    const open = async (service: string, argument: string) => {
      here.write(encodeDescriptor({ service, argument, source }))
      return here
    }
    return callOver({ open }, epochDestroyed, dom0, profile, { epoch }, never, 60_000)
  }
  const before = one.ledger.size
  for (const epoch of [1, 2, Number.MAX_SAFE_INTEGER])
    await expect(tell('made-up', epoch)).rejects.toMatchObject({ code: 'PROFILE_NOT_FOUND' })
  const told = await Promise.all(Array.from({ length: 8 }, () => tell(one.profile, 1)))
  expect(new Set(told.map(({ entry }) => entry))).toEqual(new Set([before]))
  expect(one.ledger.size).toBe(before + 1)
})
