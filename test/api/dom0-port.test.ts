import type { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import type { Dom0Port } from '../../src/api/dom0.ts'
import { dom0Over } from '../../src/api/dom0-port.ts'
import { silentLog } from '../../src/base/log.ts'
import { type IdempotencyKey, parseJobId, parseVmName, parseVolumeName } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { wholeSnapshot } from '../../src/base/restore-choice.ts'
import { EngineError } from '../../src/engine/errors.ts'
import type { Transport } from '../../src/qrexec/call.ts'
import { cosignLedger, readLedger } from '../../src/qrexec/calls/ledger.ts'
import * as calls from '../../src/qrexec/calls/orders.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer, type Handler, respond } from '../../src/qrexec/server.ts'
import { copyingPair } from '../support/copying-pair.ts'
import { FakeDom0, summary, work } from './fake-dom0.ts'
import { eventually } from './harness.ts'

const management = parseVmName('sys-backup')
const key = 'nightly-2026-11-24' as IdempotencyKey
const forever = new AbortController().signal

/** A port whose every call goes through the wire form and back. */
function connected(handlers: Record<string, Handler>): { port: Dom0Port; streams: Duplex[] } {
  const server = createServer(handlers, { log: silentLog })
  const streams: Duplex[] = []
  const transport: Transport = {
    async open(service, argument, _target, signal) {
      const [near, far] = copyingPair()
      streams.push(near)
      near.on('error', () => {})
      signal.addEventListener('abort', () => near.destroy(signal.reason))
      near.write(encodeDescriptor({ service, argument, source: management }))
      server.accept(far)
      return near
    },
  }
  return { port: dom0Over(transport), streams }
}

function served(dom0: FakeDom0): Record<string, Handler> {
  const profile = work
  return {
    [calls.orderBackup.service]: respond(calls.orderBackup, ({ key }) => dom0.backup(profile, key)),
    [calls.orderCheck.service]: respond(calls.orderCheck, ({ key, read }) => dom0.check(profile, key, read)),
    [calls.orderScrub.service]: respond(calls.orderScrub, ({ key }) => dom0.scrub(profile, key)),
    [calls.orderRestore.service]: respond(calls.orderRestore, ({ key, snapshot, choice }) =>
      dom0.restore(profile, key, snapshot, choice),
    ),
    [calls.orderPrune.service]: respond(calls.orderPrune, ({ key, dryRun }) =>
      dom0.prune(profile, key, dryRun),
    ),
    [calls.holdSnapshot.service]: respond(calls.holdSnapshot, ({ snapshot, until }) =>
      dom0.hold(profile, snapshot, until),
    ),
    [calls.endHold.service]: respond(calls.endHold, ({ snapshot }) => dom0.endHold(profile, snapshot)),
    [calls.cancelJob.service]: respond(calls.cancelJob, (_, { argument }) =>
      dom0.cancel(parseJobId(argument)),
    ),
    [calls.listJobs.service]: respond(calls.listJobs, () => dom0.jobs()),
    [calls.listProfiles.service]: respond(calls.listProfiles, () => dom0.profiles()),
    [calls.listSnapshots.service]: respond(calls.listSnapshots, () => dom0.snapshots(profile)),
    [readLedger.service]: respond(readLedger, ({ from }) => dom0.ledger(from)),
    [cosignLedger.service]: respond(cosignLedger, async cosignature => {
      await dom0.cosign(cosignature)
      return undefined
    }),
  }
}

describe('the port over the wire', () => {
  test('every call arrives as it was meant', async () => {
    const dom0 = new FakeDom0()
    const { port } = connected(served(dom0))
    const { snapshot } = summary
    const chosen = {
      vm: parseVmName('mail'),
      volumes: [parseVolumeName('private')],
      range: { offset: 1, length: 2 },
      reuse: parseJobId('20261124T031500Z-1f2e3d4c'),
    }
    dom0.ledgerPage = () => ({
      checkpoint: 'note',
      consistency: [new Uint8Array(32)],
      entries: [Uint8Array.of(1)],
    })
    const job = await port.backup(work, key, {}, forever)
    expect(job).toEqual(dom0.board.get(job.id))
    await port.check(work, 'check-01' as IdempotencyKey, parseReadChoice('30d'), forever)
    await port.scrub(work, 'scrub-01' as IdempotencyKey, forever)
    await port.restore(work, 'restore-1' as IdempotencyKey, snapshot, chosen, forever)
    await port.restore(work, 'restore-2' as IdempotencyKey, null, wholeSnapshot, forever)
    await port.prune(work, 'prune-01' as IdempotencyKey, true, forever)
    expect((await port.cancel(job.id, forever)).state).toBe('cancelled')
    expect((await port.jobs(forever)).map(one => one.kind)).toEqual([
      ...['prune', 'restore', 'restore', 'scrub', 'check', 'backup'],
    ])
    expect(await port.snapshots(work, forever)).toEqual([])
    dom0.snapshotsOf = [summary]
    expect(await port.hold(work, snapshot, summary.time, forever)).toMatchObject({ heldUntil: summary.time })
    expect(await port.endHold(work, snapshot, forever)).toMatchObject({ heldUntil: null })
    expect((await port.profiles(forever)).profiles).toEqual([
      { name: work, unreadSince: new Date('2026-11-12T00:00:00Z'), nextRun: null, alarms: [] },
    ])
    expect(await port.ledger(7, forever)).toMatchObject({ checkpoint: 'note', entries: [Uint8Array.of(1)] })
    await port.cosign({ size: 7, cosignature: 'line\n' }, forever)
    expect(dom0.calls).toEqual([
      `backup work ${key}`,
      'check work check-01 read=30d',
      'scrub work scrub-01',
      `restore work restore-1 snapshot=${snapshot} choice=${JSON.stringify(chosen)}`,
      'restore work restore-2 snapshot=newest',
      'prune work prune-01 dryRun=true',
      `cancel ${job.id}`,
      'jobs',
      'snapshots work',
      `hold work ${snapshot} ${summary.time.toISOString()}`,
      `endHold work ${snapshot}`,
      'profiles',
      'ledger 7',
      'cosign 7',
    ])
  })

  test('dom0’s refusal keeps its code and kind', async () => {
    const dom0 = new FakeDom0()
    dom0.failure = new EngineError('ORDER_LIMIT', 'two orders a day')
    const { port } = connected(served(dom0))
    await expect(port.backup(work, key, {}, forever)).rejects.toMatchObject({
      code: 'ORDER_LIMIT',
      kind: 'refused',
      message: 'two orders a day',
    })
  })

  test.each([['0\0{"id":1}'], ['0\0not json'], ['0\0{}'], ['']])(
    'an answer that is none (%j) is dom0’s fault and no fault of the request',
    async text => {
      const { port } = connected({
        [calls.orderBackup.service]: async ({ stream }) => {
          stream.end(text)
        },
      })
      await expect(port.backup(work, key, {}, forever)).rejects.toMatchObject({
        code: 'QREXEC_ANSWER_INVALID',
      })
    },
  )
})

describe('events', () => {
  const job = async () => new FakeDom0().backup(work, key)
  const streaming = (write: (stream: Duplex) => void): Record<string, Handler> => ({
    [calls.jobEvents.service]: async ({ stream }) => write(stream),
  })

  test('are read line by line, however they are cut, until dom0 ends', async () => {
    const one = await job()
    const text = `${JSON.stringify(one)}\n${JSON.stringify({ ...one, state: 'running' })}\n`
    const { port, streams } = connected(
      streaming(stream => {
        for (const part of text.match(/.{1,50}|\n/gs) ?? []) stream.write(part)
        stream.end()
      }),
    )
    const states: string[] = []
    for await (const { state } of port.events(work, forever)) states.push(state)
    expect(states).toEqual(['waiting', 'running'])
    expect(streams[0]?.destroyed).toBe(true)
  })

  test('that are no jobs, or too long, end the stream with an error', async () => {
    for (const bad of ['{"id":1}\n', 'hello\n', 'x'.repeat(70_000)]) {
      const { port } = connected(streaming(stream => void stream.end(bad)))
      const first = port.events(work, forever)[Symbol.asyncIterator]().next()
      await expect(first).rejects.toMatchObject({ code: 'QREXEC_ANSWER_INVALID' })
    }
  })

  test('whoever stops listening closes the stream', async () => {
    const one = await job()
    const { port, streams } = connected({
      [calls.jobEvents.service]: async ({ stream }) => {
        stream.write(`${JSON.stringify(one)}\n`)
        await new Promise(resolve => stream.once('close', resolve))
      },
    })
    for await (const { id } of port.events(work, forever)) {
      expect(id).toBe(one.id)
      break
    }
    await eventually(() => streams[0]?.destroyed === true)
  })
})
