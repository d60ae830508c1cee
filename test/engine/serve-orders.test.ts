import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { KiB } from '../../src/base/bytes.ts'
import { silentLog } from '../../src/base/log.ts'
import {
  dom0,
  type IdempotencyKey,
  parseIdempotencyKey,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  parseVmName,
  parseVolumeName,
  type SnapshotId,
} from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { StreamReader } from '../../src/base/reader.ts'
import { type RestoreChoice, wholeSnapshot } from '../../src/base/restore-choice.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Judge } from '../../src/engine/judge.ts'
import { Orders } from '../../src/engine/orders.ts'
import { serveOrders } from '../../src/engine/serve-orders.ts'
import { parseEntry } from '../../src/ledger/entry.ts'
import type { Call, Transport } from '../../src/qrexec/call.ts'
import * as calls from '../../src/qrexec/calls/orders.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer } from '../../src/qrexec/server.ts'
import type { ReadingPlan } from '../../src/repository/read-cycle.ts'
import { type EngineBench, mgmt, passphraseText, testBench, testProfile } from '../support/engine.ts'
import { everything, nothing, only } from './admin-client.ts'

const never = new AbortController().signal

/** What the management VM has: calls, and streams, to dom0's server. */
function client(one: EngineBench, judge: Judge = everything) {
  const server = createServer(serveOrders(one.ports, one.orders, judge), { log: silentLog })
  const transport: Transport = {
    async open(service, argument) {
      const [here, there] = duplexPair()
      server.accept(there)
      here.write(
        encodeDescriptor({ service, argument, source: mgmt, requested: { type: 'name', target: dom0 } }),
      )
      return here
    },
  }
  return {
    transport,
    ask: <Q, R>(call: Call<Q, R>, argument: string, request: Q) =>
      callOver(transport, call, dom0, argument, request, never, 20_000),
  }
}

const key = (text: string): IdempotencyKey => parseIdempotencyKey(`key-${text.padStart(8, '0')}`)
const mayNightly = only('strongroom.Backup+nightly @adminvm')
const mayOther = only('strongroom.Backup+other @adminvm')

async function backedUp(one: EngineBench): Promise<calls.Job> {
  const { id } = await client(one).ask(calls.orderBackup, 'nightly', { key: key('1') })
  return one.orders.ended(id)
}

describe('an order from the management VM', () => {
  it('is answered with its job at once, and is one job however often it is sent', async () => {
    const one = await testBench()
    const { ask } = client(one)
    const job = await ask(calls.orderBackup, 'nightly', { key: key('1') })
    expect(job).toMatchObject({ state: 'waiting', kind: 'backup', initiator: 'mgmt', profile: 'nightly' })
    expect((await ask(calls.orderBackup, 'nightly', { key: key('1') })).id).toBe(job.id)
    expect((await ask(calls.orderBackup, 'nightly', { key: key('2') })).id).toBe(job.id)
    expect((await one.orders.ended(job.id)).state).toBe('done')
  })

  it('of a scrub asks the storage, and not the HSM VM', async () => {
    const one = await testBench({
      scrub: async () => ({ objects: 9, bytes: 5000, damaged: 0, findings: [] }),
    })
    await backedUp(one)
    const { id } = await client(one).ask(calls.orderScrub, 'nightly', { key: key('2') })
    expect(await one.orders.ended(id)).toMatchObject({
      state: 'done',
      kind: 'scrub',
      outcome: { objects: 9 },
    })
    expect(one.released.map(({ purpose }) => purpose)).toEqual(['backup'])
  })

  it.each(['check', 'restore'] as const)('of a %s goes to the examiner', async kind => {
    const outcome = {
      snapshot: undefined,
      bytes: 1,
      bytesStored: undefined,
      volumes: 1,
      warnings: [],
      objects: 1,
      snapshots: 1,
      prune: undefined,
      drill: undefined,
    }
    const asked: unknown[] = []
    const examiner = {
      check: async (_: unknown, { must }: ReadingPlan) => {
        asked.push(must)
        return { fault: null, proven: null, outcome }
      },
      restore: async (_: unknown, snapshot: string) => {
        asked.push(snapshot)
        return outcome
      },
    }
    const one = await testBench({ examiner })
    const { outcome: backup } = await backedUp(one)
    const { ask } = client(one)
    const { id } =
      kind === 'check'
        ? await ask(calls.orderCheck, 'nightly', { key: key('2'), read: parseReadChoice('all') })
        : await ask(calls.orderRestore, 'nightly', { key: key('2'), snapshot: null, choice: wholeSnapshot })
    expect(await one.orders.ended(id)).toMatchObject({ state: 'done', kind, outcome: { bytes: 1 } })
    expect(asked).toEqual([kind === 'check' ? 256 : backup?.snapshot])
    expect(one.released.map(({ purpose }) => purpose)).toEqual(['backup', kind])
  })

  it.each([
    ['an unknown profile', 'other', { key: key('1') }, 'PROFILE_NOT_FOUND'],
    ['what is no profile name', '.hidden', { key: key('1') }, 'NAME_INVALID'],
    ['no profile', '', { key: key('1') }, 'NAME_INVALID'],
    ['a short key', 'nightly', { key: 'short' as IdempotencyKey }, 'FIELD_INVALID'],
    ['more than names', 'nightly', { key: key('1'), path: '/etc/passwd' }, 'FIELD_INVALID'],
  ] as const)('with %s is refused', async (_, profile, request, code) => {
    const one = await testBench()
    await expect(client(one).ask(calls.orderBackup, profile, request)).rejects.toMatchObject({ code })
    expect(one.orders.board.list()).toEqual([])
  })

  it('that is too long is refused before it is read', async () => {
    const one = await testBench()
    const { transport } = client(one)
    const stream = await transport.open(calls.orderBackup.service, 'nightly', dom0, never)
    stream.on('error', () => {})
    stream.end(' '.repeat(KiB + 1))
    stream.resume()
    await Promise.race([once(stream, 'end'), once(stream, 'close')])
    expect(one.orders.board.list()).toEqual([])
  })

  describe('of a restore', () => {
    const outcome = {
      snapshot: undefined,
      bytes: 1,
      bytesStored: undefined,
      volumes: 1,
      warnings: [],
      objects: undefined,
      snapshots: undefined,
      prune: undefined,
      drill: undefined,
    }
    const [work, gone, reuse] = [
      parseVmName('work'),
      parseVmName('gone'),
      parseJobId('20261124T031500Z-1f2e3d4c'),
    ]

    async function restoring(choice: Partial<RestoreChoice>, judge?: Judge) {
      const chosen: unknown[] = []
      const examiner = {
        check: async () => Promise.reject(new Error('no check')),
        restore: async (_: unknown, __: unknown, choice: RestoreChoice) => {
          chosen.push(choice)
          return outcome
        },
      }
      const one = await testBench({ examiner })
      await backedUp(one)
      const order = (key: IdempotencyKey, choice: Partial<RestoreChoice>) =>
        client(one, judge).ask(calls.orderRestore, 'nightly', {
          key,
          snapshot: null,
          choice: { ...wholeSnapshot, ...choice },
        })
      const ordered = order(key('2'), choice)
      await ordered.then(({ id }) => one.orders.ended(id)).catch(() => {})
      return { one, ordered, order, chosen }
    }

    it('what is chosen goes to the examiner as it was ordered', async () => {
      const choice = { vm: work, volumes: [parseVolumeName('private')], range: { offset: 5, length: 7 } }
      const { chosen } = await restoring(choice)
      expect(chosen).toEqual([{ ...wholeSnapshot, ...choice }])
    })

    it('a VM that the caller may not list is refused, and recorded, whether or not it is there', async () => {
      const messages = []
      for (const vm of [work, gone]) {
        const { one, ordered, chosen } = await restoring({ vm }, only('strongroom.Backup+nightly @adminvm'))
        await expect(ordered).rejects.toMatchObject({ code: 'VM_NOT_LISTED', kind: 'refused' })
        messages.push(
          await ordered.then(
            () => '',
            ({ message }: Error) => message.replaceAll(vm, 'X'),
          ),
        )
        expect(chosen).toEqual([])
        const entries = (await one.openLedger()).entries()
        const last = []
        for await (const { bytes } of entries) last.push(parseEntry(bytes))
        expect(last.at(-1)).toMatchObject({ type: 'refusal', code: 'VM_NOT_LISTED' })
        expect(one.released).toHaveLength(1)
      }
      expect(messages[0]).toBe(messages[1])
    })

    it('a VM that the caller may list is restored', async () => {
      const { chosen } = await restoring({ vm: work }, only('admin.vm.List+ work'))
      expect(chosen).toHaveLength(1)
    })

    it('a restore of the same profile may be reused, and no other job', async () => {
      const { one, ordered, order, chosen } = await restoring({})
      const { id } = await ordered
      await one.orders.ended((await order(key('3'), { reuse: id })).id)
      expect(chosen).toMatchObject([{ reuse: null }, { reuse: id }])
      await expect(order(key('4'), { reuse })).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' })
    })

    it.each([
      ['volumes of no VM', { volumes: [parseVolumeName('private')] }],
      ['a range of a whole VM', { vm: work, range: { offset: 0, length: 1 } }],
      [
        'a range of two volumes',
        { vm: work, volumes: ['a', 'b'].map(parseVolumeName), range: { offset: 0, length: 1 } },
      ],
      [
        'a range that reuses',
        { vm: work, volumes: [parseVolumeName('private')], range: { offset: 0, length: 1 }, reuse },
      ],
    ] as const)('%s is refused', async (_, choice) => {
      const { ordered } = await restoring(choice)
      await expect(ordered).rejects.toMatchObject({ code: 'FIELD_INVALID' })
    })
  })

  it('of a restore of a snapshot that the ledger does not have fails', async () => {
    const one = await testBench()
    await backedUp(one)
    const snapshot = parseSnapshotId('ab'.repeat(32))
    const { id } = await client(one).ask(calls.orderRestore, 'nightly', {
      key: key('2'),
      snapshot,
      choice: wholeSnapshot,
    })
    expect(await one.orders.ended(id)).toMatchObject({
      state: 'failed',
      error: { code: 'SNAPSHOT_NOT_FOUND' },
    })
    expect(one.released).toHaveLength(1)
  })
})

describe('a caller sees', () => {
  it('jobs of the profiles that it may order, and no others', async () => {
    const one = await testBench()
    const { id } = await backedUp(one)
    expect((await client(one, mayNightly).ask(calls.listJobs, '', undefined)).map(job => job.id)).toEqual([
      id,
    ])
    expect(await client(one, mayOther).ask(calls.listJobs, '', undefined)).toEqual([])
  })

  it('profiles that it may order, and the configuration in force', async () => {
    const one = await testBench()
    const configuration = { version: 1, digest: 'ab'.repeat(32) }
    const nightly = { name: 'nightly', unreadSince: null, nextRun: null, alarms: [] }
    expect(await client(one, mayNightly).ask(calls.listProfiles, '', undefined)).toEqual({
      configuration,
      profiles: [nightly],
      alarms: [],
    })
    expect(await client(one, nothing).ask(calls.listProfiles, '', undefined)).toEqual({
      configuration,
      profiles: [],
      alarms: [],
    })
  })

  it('what dom0 has found wrong with its own sealed store', async () => {
    const alarm = { code: 'SEAL_CHANGED', message: 'it was changed', time: new Date('2026-11-24T03:15:00Z') }
    const one = await testBench()
    const { current } = one.ports.configuration
    const ports = { ...one.ports, configuration: { current, alarm } }
    const { alarms } = await client({ ...one, ports }).ask(calls.listProfiles, '', undefined)
    expect(alarms).toEqual([alarm])
  })

  it('snapshots as the ledger knows them', async () => {
    const one = await testBench()
    expect(await client(one).ask(calls.listSnapshots, 'nightly', undefined)).toEqual([])
    const job = await backedUp(one)
    one.storage.objects.clear()
    expect(await client(one).ask(calls.listSnapshots, 'nightly', undefined)).toEqual([
      expect.objectContaining({ snapshot: job.outcome?.snapshot, job: job.id, epoch: 1, volumes: 2 }),
    ])
    await expect(client(one).ask(calls.listSnapshots, 'other', undefined)).rejects.toMatchObject({
      code: 'PROFILE_NOT_FOUND',
    })
  })

  it('why a prune would keep each of them, and until when one is held', async () => {
    const one = await testBench({ profileText: `${testProfile}strongroom:\n  retention: { keep_last: 1 }\n` })
    const { ask } = client(one)
    const ids: SnapshotId[] = []
    for (const number of ['1', '2', '3']) {
      const { id } = await ask(calls.orderBackup, 'nightly', { key: key(number) })
      ids.push(parseSnapshotId((await one.orders.ended(id)).outcome?.snapshot ?? ''))
    }
    const [first, second] = ids
    if (first === undefined || second === undefined) throw new Error('no snapshots')
    const until = new Date(Date.now() + 24 * 3_600_000)
    const held = await ask(calls.holdSnapshot, 'nightly', { snapshot: first, until })
    expect(held).toMatchObject({ snapshot: first, keptBy: ['held'] })
    expect(held.heldUntil?.getTime()).toBeGreaterThanOrEqual(until.getTime())
    expect((await ask(calls.listSnapshots, 'nightly', undefined)).map(({ keptBy }) => keptBy)).toEqual([
      ['held'],
      [],
      ['newest', 'last'],
    ])
    await expect(ask(calls.endHold, 'nightly', { snapshot: first })).rejects.toMatchObject({
      code: 'HOLD_FIXED',
    })
    await expect(ask(calls.endHold, 'nightly', { snapshot: second })).rejects.toMatchObject({
      code: 'HOLD_NOT_FOUND',
    })

    const { id } = await ask(calls.orderPrune, 'nightly', { key: key('4'), dryRun: true })
    expect((await one.orders.ended(id)).outcome).toMatchObject({ prune: { dryRun: true, forgotten: 1 } })
    expect(one.ledger.repository(one.profile, 1)?.snapshots).toHaveLength(3)
    const real = await ask(calls.orderPrune, 'nightly', { key: key('5'), dryRun: false })
    expect((await one.orders.ended(real.id)).outcome).toMatchObject({
      prune: { dryRun: false, forgotten: 1 },
    })
    expect((await ask(calls.listSnapshots, 'nightly', undefined)).map(({ snapshot }) => snapshot)).toEqual([
      first,
      ids[2],
    ])
  })

  it('as many jobs as an answer can hold, the newest', async () => {
    const one = await testBench()
    const done = await backedUp(one)
    if (done.outcome === null) throw new Error('no outcome')
    const warnings = Array.from({ length: 100 }, () => 'w'.repeat(400))
    for (let index = 10; index < 60; index++) {
      const id = parseJobId(`20990101T0000${index}Z-00000000`)
      one.orders.board.touch({ ...done, id, outcome: { ...done.outcome, warnings } })
    }
    const jobs = await client(one).ask(calls.listJobs, '', undefined)
    expect(jobs.length).toBeGreaterThan(20)
    expect(jobs[0]?.id).toBe('20990101T000059Z-00000000')
  })
})

describe('cancelling', () => {
  it('ends a job of any kind that the caller may order', async () => {
    const one = await testBench({
      release: (_request, signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    const { ask } = client(one, mayNightly)
    const { id } = await ask(calls.orderBackup, 'nightly', { key: key('1') })
    expect((await ask(calls.cancelJob, id, undefined)).id).toBe(id)
    expect(await one.orders.ended(id)).toMatchObject({ state: 'cancelled' })
    await expect(ask(calls.cancelJob, id, undefined)).rejects.toMatchObject({ code: 'JOB_ENDED' })
  })

  it('of a job of another profile is as of one that does not exist', async () => {
    const one = await testBench()
    const { id } = await backedUp(one)
    const unknown = parseJobId('20200101T000000Z-00000000')
    const { ask } = client(one, mayOther)
    for (const wanted of [id, unknown])
      await expect(ask(calls.cancelJob, wanted, undefined)).rejects.toMatchObject({
        code: 'JOB_NOT_FOUND',
        message: `there is no job '${wanted}'`,
      })
  })
})

describe('the events of a profile', () => {
  async function listen(one: EngineBench, profile = 'nightly') {
    const stream = await client(one).transport.open(calls.jobEvents.service, profile, dom0, never)
    stream.on('error', () => {})
    stream.end()
    const reader = new StreamReader(stream)
    const next = async () =>
      calls.parseJob(JSON.parse(Buffer.from(await reader.until(10, 64 * KiB)).toString()))
    return { stream, next }
  }

  it('begin with the jobs that run, and tell every change to the end', async () => {
    const gate = Promise.withResolvers<void>()
    const one = await testBench({
      release: async () => {
        await gate.promise
        return Secret.take(Buffer.from(passphraseText))
      },
    })
    const order = await client(one).ask(calls.orderBackup, 'nightly', { key: key('1') })
    const { stream, next } = await listen(one)
    expect(await next()).toMatchObject({ id: order.id, ended: null })
    gate.resolve()
    const states: string[] = []
    for (let job = await next(); ; job = await next()) {
      states.push(`${job.state} ${job.progress.phase}`)
      if (job.ended !== null) break
    }
    expect(states.at(-1)).toBe('done ended')
    expect(states).toContain('running reading')
    expect(new Set(states).size).toBe(states.length)
    stream.destroy()
  })

  it('of another profile are none', async () => {
    const one = await testBench()
    const { stream } = await listen(one, 'other')
    let bytes = 0
    stream.on('data', part => {
      bytes += part.byteLength
    })
    await backedUp(one)
    expect(bytes).toBe(0)
    stream.destroy()
  })

  it('end for a listener that does not read; the job goes on', async () => {
    const one = await testBench()
    const stream = await client(one).transport.open(calls.jobEvents.service, 'nightly', dom0, never)
    stream.on('error', () => {})
    const done = await backedUp(one)
    stream.pause()
    const long = {
      ...done,
      error: { code: 'X', kind: 'failed' as const, message: 'm'.repeat(2000), hint: '' },
    }
    for (let index = 0; index < 600; index++) one.orders.board.touch({ ...long, state: 'failed' })
    stream.resume()
    await Promise.race([once(stream, 'end'), once(stream, 'close')])
    expect((await client(one).ask(calls.listJobs, '', undefined)).length).toBe(1)
  })
})

describe('when dom0’s disk fails', () => {
  it('in the ledger, the order is refused and the profile is not blocked', async () => {
    const one = await testBench()
    const append = one.ports.ledger.append.bind(one.ports.ledger)
    let fails = true
    const ledger = new Proxy(one.ports.ledger, {
      get(target, name) {
        if (name === 'append') return fails ? () => Promise.reject(new Error('planted')) : append
        const member = Reflect.get(target, name) as unknown
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    const orders = new Orders({ ...one.ports, ledger }, one.orders.board)
    const order = { kind: 'backup', profile: one.profile, initiator: mgmt, ifRunning: 'refuse' } as const
    await expect(orders.order({ ...order, key: key('1') })).rejects.toThrow('planted')
    expect(orders.board.list()).toMatchObject([{ state: 'failed', error: { code: 'INTERNAL' } }])
    fails = false
    const { id } = await orders.order({ ...order, key: key('2') })
    expect((await orders.ended(id)).state).toBe('done')
  })

  it('in the records of jobs, a job still ends', async () => {
    const gate = Promise.withResolvers<Secret>()
    const asked = Promise.withResolvers<void>()
    const one = await testBench({
      release: () => {
        asked.resolve()
        return gate.promise
      },
    })
    const { id } = await client(one).ask(calls.orderBackup, 'nightly', { key: key('1') })
    await asked.promise
    await rm(path.join(one.directory, 'state', 'jobs'), { recursive: true })
    gate.reject(new Error('planted'))
    expect(await one.orders.ended(id)).toMatchObject({ state: 'failed' })
    expect(one.orders.board.running(parseProfileName('nightly'), 'backup')).toBeUndefined()
  })
})

it('a call is judged by the VM that makes it', async () => {
  const one = await testBench()
  const judged: string[] = []
  const judge: Judge = { allows: ({ source }) => judged.push(source) > 0 }
  await client(one, judge).ask(calls.listProfiles, '', undefined)
  expect(judged).toEqual([parseVmName('mgmt')])
})
