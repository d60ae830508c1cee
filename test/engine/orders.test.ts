import { appendFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { systemEnvironment } from '../../src/base/environment.ts'
import type { ErrorKind } from '../../src/base/errors.ts'
import { parseVmName } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Order } from '../../src/engine/order.ts'
import { Orders } from '../../src/engine/orders.ts'
import { type Entry, parseEntry } from '../../src/ledger/entry.ts'
import { RemoteError } from '../../src/qrexec/admin-api.ts'
import { StorageError } from '../../src/storage/errors.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import {
  type EngineBench,
  newKey,
  orderOf,
  passphraseText,
  run,
  testBench,
  testProfile,
} from '../support/engine.ts'

const recorded = new WeakMap<EngineBench, Entry[]>()

function entriesOf(one: EngineBench): Entry[] {
  return recorded.get(one) ?? []
}

async function readEntries(one: EngineBench): Promise<void> {
  const entries: Entry[] = []
  for await (const { bytes } of (await one.openLedger()).entries()) entries.push(parseEntry(bytes))
  recorded.set(one, entries)
}

describe('a backup', () => {
  it('ends as done, with a snapshot that the ledger has', async () => {
    const one = await testBench()
    const job = await run(one)
    expect(job.error).toBeNull()
    expect(job).toMatchObject({
      state: 'done',
      kind: 'backup',
      outcome: { volumes: 2, bytes: 5 * 1024 * 1024 },
    })
    const history = one.ledger.repository(one.profile, 1)
    expect(history?.snapshots.map(({ snapshotId }) => snapshotId)).toEqual([job.outcome?.snapshot])
    expect(one.released).toHaveLength(1)
    expect(one.released[0]).toMatchObject({ purpose: 'backup', job: job.id, epoch: 1, initiator: 'mgmt' })
  })

  it('of dom0 beside others warns that there is nothing of dom0 to read', async () => {
    const one = await testBench({ profileText: testProfile.replace('[ work, personal ]', '[ dom0, work ]') })
    const job = await run(one)
    expect(job).toMatchObject({ state: 'done', outcome: { volumes: 1 } })
    expect(job.outcome?.warnings).toEqual([expect.stringContaining('dom0 is selected but has no volumes')])
  })

  it('fails when a volume that was planned is gone by the time it is read', async () => {
    const one = await testBench()
    const inventory = {
      list: async (signal: AbortSignal) =>
        (await one.ports.inventory.list(signal)).map(vm =>
          vm.name === 'work' ? { ...vm, volumes: [...vm.volumes, { name: 'root', bytes: 1, usage: 1 }] } : vm,
        ),
    }
    one.orders = new Orders({ ...one.ports, inventory }, one.orders.board)
    const job = await run(one)
    expect(job).toMatchObject({ state: 'failed', error: { code: 'VOLUME_MISSING' } })
    expect(one.ledger.repository(one.profile, 1)?.snapshots).toEqual([])
  })

  it('records order, request, release, repository, snapshot and end, in that order', async () => {
    const one = await testBench()
    await run(one)
    await readEntries(one)
    expect(entriesOf(one).map(({ type }) => type)).toEqual([
      'genesis',
      'order',
      'release-request',
      'release',
      'repository',
      'snapshot',
      'job',
    ])
  })

  it('stores only what is new the second time, from its own copies', async () => {
    const one = await testBench()
    const first = await run(one)
    await appendFile(path.join(one.machine, 'work', 'private.img'), Buffer.alloc(262_144, 7))
    const second = await run(one)
    expect(second.state).toBe('done')
    expect(second.outcome?.bytesStored).toBeLessThan((first.outcome?.bytesStored ?? 0) + 20_000)
    expect(one.ledger.repository(one.profile, 1)?.snapshots).toHaveLength(2)
  })
})

describe('orders', () => {
  it('with the same key are one job', async () => {
    const one = await testBench()
    const order = orderOf(one)
    const [a, b] = await Promise.all([one.orders.order(order), one.orders.order(order)])
    expect(b.id).toBe(a.id)
    await one.orders.ended(a.id)
    expect((await one.orders.order(order)).id).toBe(a.id)
  })

  it('with a key of another order are refused and recorded', async () => {
    const one = await testBench()
    const order = orderOf(one)
    await run(one, order)
    await expect(one.orders.order({ ...order, kind: 'check' })).rejects.toMatchObject({ code: 'KEY_REUSED' })
    await readEntries(one)
    expect(entriesOf(one).at(-1)).toMatchObject({ type: 'refusal', code: 'KEY_REUSED' })
  })

  it('with the key of a restore of another snapshot, or of a lesser check, are refused', async () => {
    const one = await testBench()
    const snapshot = (await run(one)).outcome?.snapshot
    const restore = orderOf(one, { kind: 'restore', snapshot: null })
    const check = orderOf(one, { kind: 'check', read: parseReadChoice('5%') })
    for (const order of [restore, check]) expect((await run(one, order)).state).toBe('failed')
    for (const other of [
      { ...restore, snapshot },
      { ...check, read: parseReadChoice('all') },
    ])
      await expect(one.orders.order(other as Order)).rejects.toMatchObject({ code: 'KEY_REUSED' })
    expect((await one.orders.order(restore)).kind).toBe('restore')
  })

  it('of two VMs that chose the same key are two', async () => {
    const one = await testBench()
    const order = orderOf(one)
    const mine = await run(one, order)
    const other = await run(one, { ...order, initiator: parseVmName('other-mgmt') })
    expect(other.id).not.toBe(mine.id)
    expect((await one.orders.order(order)).id).toBe(mine.id)
  })

  it('that joined a job are that job also when it has ended and dom0 was started anew', async () => {
    const gate = Promise.withResolvers<Secret>()
    const one = await testBench({ release: () => gate.promise })
    const first = await one.orders.order(orderOf(one))
    const joining = orderOf(one, { ifRunning: 'join' })
    expect((await one.orders.order(joining)).id).toBe(first.id)
    await asked(one)
    gate.reject(new Error('enough'))
    await one.orders.ended(first.id)
    expect((await one.orders.order(joining)).id).toBe(first.id)
    expect(await (await one.restart()).order(joining)).toMatchObject({ id: first.id, state: 'failed' })
  })

  it('that join one job are bounded', async () => {
    const gate = Promise.withResolvers<Secret>()
    const one = await testBench({ release: () => gate.promise })
    const first = await one.orders.order(orderOf(one))
    for (let joined = 1; joined < 64; joined++) await one.orders.order(orderOf(one, { ifRunning: 'join' }))
    await expect(one.orders.order(orderOf(one, { ifRunning: 'join' }))).rejects.toMatchObject({
      code: 'JOB_RUNNING',
    })
    await asked(one)
    gate.reject(new Error('enough'))
    await one.orders.ended(first.id)
  })

  it('of a running profile are refused, or joined', async () => {
    const gate = Promise.withResolvers<Secret>()
    const one = await testBench({ release: () => gate.promise })
    const first = await one.orders.order(orderOf(one))
    await expect(one.orders.order(orderOf(one))).rejects.toMatchObject({
      code: 'JOB_RUNNING',
      kind: 'conflict',
    })
    expect((await one.orders.order(orderOf(one, { ifRunning: 'join' }))).id).toBe(first.id)
    await asked(one)
    gate.reject(new Error('enough'))
    await one.orders.ended(first.id)
  })

  it('of an unknown profile are refused and recorded', async () => {
    const one = await testBench()
    const unknown = orderOf(one, { profile: 'other' as EngineBench['profile'] })
    await expect(one.orders.order(unknown)).rejects.toMatchObject({ code: 'PROFILE_NOT_FOUND' })
    await readEntries(one)
    expect(entriesOf(one).at(-1)).toMatchObject({
      type: 'refusal',
      code: 'PROFILE_NOT_FOUND',
      profile: 'other',
    })
  })

  it('of a flood are recorded in one entry that counts them', async () => {
    let elapsed = 0
    const clock = { ...systemEnvironment.clock, monotonic: () => elapsed }
    const one = await testBench({ environment: { ...systemEnvironment, clock } })
    const unknown = orderOf(one, { profile: 'other' as EngineBench['profile'] })
    const refuse = (times: number) =>
      Promise.all(
        Array.from({ length: times }, () => one.orders.order({ ...unknown, key: newKey() }).catch(() => {})),
      )
    const recorded = async () => {
      await readEntries(one)
      return entriesOf(one).flatMap(entry => (entry.type === 'refusal' ? [entry.alsoRefused ?? 0] : []))
    }
    await refuse(500)
    expect(await recorded()).toEqual(Array(120).fill(0))
    elapsed = 3_600_001
    await refuse(2)
    expect(await recorded()).toEqual([...Array(120).fill(0), 379, 0, 0])
    await refuse(130)
    await one.orders.close()
    expect((await recorded()).slice(-2)).toEqual([0, 12])
    expect((await recorded()).reduce((sum, more) => sum + 1 + more, 0)).toBe(632)
  })

  it('beyond the sealed limits are refused and recorded', async () => {
    const one = await testBench({
      profileText: `${testProfile}strongroom:\n  limits:\n    orders_per_day: 1\n`,
    })
    expect((await run(one)).state).toBe('done')
    await expect(one.orders.order(orderOf(one))).rejects.toMatchObject({
      code: 'ORDER_LIMIT',
      kind: 'refused',
    })
    await readEntries(one)
    expect(entriesOf(one).at(-1)).toMatchObject({ type: 'refusal', code: 'ORDER_LIMIT' })
  })

  it('are refused when the sealed store on disk has changed', async () => {
    const one = await testBench()
    const changed = Object.assign(new Error('changed'), {})
    const ports = { ...one.ports, configuration: { current: () => Promise.reject(changed) } }
    await expect(new Orders(ports, one.orders.board).order(orderOf(one))).rejects.toBe(changed)
  })
})

describe('what the HSM VM refuses', () => {
  const answer = (code: string, kind: ErrorKind) =>
    new RemoteError({ code, kind, message: 'as it was answered', hint: '' })

  it.each([
    ['HSM_REFUSED_PURPOSE', 'refused'],
    ['HSM_REFUSED_LEDGER', 'integrity'],
    ['HSM_PIN_WRONG', 'key'],
    ['HSM_ENVELOPE_MISSING', 'missing'],
  ] as const)('is recorded as a refusal, once: %s', async (code, kind) => {
    const one = await testBench({ release: () => Promise.reject(answer(code, kind)) })
    expect(await run(one)).toMatchObject({ state: 'failed', error: { code } })
    await readEntries(one)
    const types = entriesOf(one).map(entry => ('code' in entry ? `${entry.type} ${entry.code}` : entry.type))
    expect(types).toEqual(['genesis', 'order', 'release-request', `refusal ${code}`, `job ${code}`])
  })

  it('is not what it could not be asked', async () => {
    const one = await testBench({ release: () => Promise.reject(answer('HSM_TOKEN_MISSING', 'unavailable')) })
    expect(await run(one)).toMatchObject({ state: 'failed', error: { code: 'HSM_TOKEN_MISSING' } })
    await readEntries(one)
    expect(entriesOf(one).map(({ type }) => type)).toEqual(['genesis', 'order', 'release-request', 'job'])
  })
})

describe('cancelling', () => {
  it('works while the passphrase is waited for, and leaves nothing', async () => {
    const one = await testBench({
      release: (_request, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    const job = await one.orders.order(orderOf(one))
    await asked(one)
    one.orders.cancel(job.id)
    expect(await one.orders.ended(job.id)).toMatchObject({
      state: 'cancelled',
      error: { code: 'JOB_CANCELLED' },
    })
    expect(await names(one)).toEqual([])
  })

  it('works while volumes are read; nothing is visible afterwards, and the next order succeeds', async () => {
    let cancel = true
    const one: EngineBench = await testBench({
      wrapStorage: store => ({
        ...bound(store),
        async put(name, body, signal) {
          if (cancel && name.startsWith('data/')) one.orders.cancel(one.orders.board.list()[0]?.id as never)
          await store.put(name, body, signal)
        },
      }),
    })
    const job = await run(one)
    expect(job.state).toBe('cancelled')
    expect((await names(one)).filter(name => /^(snapshots|index)\//.test(name))).toEqual([])
    cancel = false
    expect((await run(one)).state).toBe('done')
  })

  it('is nothing that the HSM VM can claim', async () => {
    const one = await testBench({
      release: async () => {
        const kind = 'cancelled'
        throw new RemoteError({ code: 'JOB_CANCELLED', kind, message: 'it was cancelled', hint: '' })
      },
    })
    const job = await run(one)
    expect(job).toMatchObject({ state: 'failed', error: { code: 'JOB_CANCELLED', kind: 'failed' } })
    await readEntries(one)
    expect(entriesOf(one).at(-1)).toMatchObject({ type: 'job', result: 'failed' })
  })

  it('is refused when the job has ended', async () => {
    const one = await testBench()
    const job = await run(one)
    expect(() => one.orders.cancel(job.id)).toThrow(expect.objectContaining({ code: 'JOB_ENDED' }))
  })
})

describe('a commit that was interrupted', () => {
  it('is completed by the next order, and neither lost nor doubled', async () => {
    let fail = true
    const one = await testBench({
      wrapStorage: store => ({
        ...bound(store),
        async put(name, body, signal) {
          if (name.startsWith('snapshots/') && fail) throw new StorageError('STORAGE_IO', 'planted')
          await store.put(name, body, signal)
        },
      }),
    })
    const first = await run(one)
    expect(first).toMatchObject({ state: 'failed', error: { code: 'STORAGE_IO' } })
    expect(one.ledger.repository(one.profile, 1)?.snapshots).toEqual([])
    fail = false
    const second = await run(one)
    expect(second.state).toBe('done')
    const snapshots = one.ledger.repository(one.profile, 1)?.snapshots ?? []
    expect(snapshots.map(({ job }) => job)).toEqual([first.id, second.id])
    const stored = (await names(one)).filter(name => name.startsWith('snapshots/'))
    expect(stored.sort()).toEqual(snapshots.map(({ snapshot }) => `snapshots/${snapshot.id}`).sort())
  })
})

describe('after a crash', () => {
  it('a job that was running has failed, and a new order succeeds', async () => {
    let silent = true
    const one = await testBench({
      release: async () => (silent ? new Promise(() => {}) : Secret.take(utf8(passphraseText))),
    })
    const job = await one.orders.order(orderOf(one))
    await asked(one)
    const orders = await one.restart()
    expect(orders.board.get(job.id)).toMatchObject({ state: 'failed', error: { code: 'JOB_INTERRUPTED' } })
    silent = false
    expect((await run(one)).state).toBe('done')
  })
})

/** Until the HSM VM has been asked. */
async function asked(one: EngineBench): Promise<void> {
  while (one.released.length === 0) await new Promise(resolve => setTimeout(resolve, 5))
}

async function names(one: EngineBench): Promise<string[]> {
  const found: string[] = []
  for (const kind of ['config', 'keys', 'snapshots', 'index', 'data'] as const)
    for await (const { name } of one.storage.list(kind, new AbortController().signal)) found.push(name)
  return found
}

function bound(store: ObjectStore): ObjectStore {
  return {
    put: (...args) => store.put(...args),
    get: (...args) => store.get(...args),
    head: (...args) => store.head(...args),
    list: (...args) => store.list(...args),
  }
}
