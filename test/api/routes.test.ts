import { describe, expect, test } from 'vitest'
import { type IdempotencyKey, parseJobId, parseProfileName } from '../../src/base/names.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { SealError } from '../../src/sealing/errors.ts'
import { finished, summary, work } from './fake-dom0.ts'
import { authorized, type Harness, startApi } from './harness.ts'

const key = 'nightly-2026-11-24' as IdempotencyKey
const { snapshot } = summary

async function call(
  { app }: Harness,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  payload?: object,
) {
  const response = await app.inject({ method, url, headers: authorized, ...(payload ? { payload } : {}) })
  return {
    status: response.statusCode,
    headers: response.headers,
    body: response.body ? response.json() : null,
  }
}

describe('POST /v1/orders', () => {
  test('a backup is accepted, and the same key again is the same job', async () => {
    await using api = await startApi()
    const headers = { ...authorized, 'idempotency-key': key }
    const order = () =>
      api.app.inject({ method: 'POST', url: '/v1/orders', headers, payload: { profile: 'work' } })
    const first = await order()
    expect(first.statusCode).toBe(202)
    expect(first.headers.location).toBe('/v1/jobs/20261124T031500Z-00000001')
    expect(first.headers['idempotency-key']).toBe(key)
    expect(first.json()).toMatchObject({ profile: 'work', kind: 'backup', state: 'waiting', key })
    expect((await order()).json()).toEqual(first.json())
    expect(api.dom0.calls).toEqual([`backup work ${key}`, `backup work ${key}`])
  })

  test('without a key one is made, so that every order has its own', async () => {
    await using api = await startApi()
    const one = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    const other = await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'backup' })
    expect([one.headers['idempotency-key'], other.headers['idempotency-key']]).toEqual([
      '00'.repeat(16),
      '01'.repeat(16),
    ])
    expect(one.body.id).not.toBe(other.body.id)
  })

  test('a check of what is no share of the data is refused', async () => {
    await using api = await startApi()
    const order = { profile: 'work', kind: 'check', read: '8/7' }
    expect(await call(api, 'POST', '/v1/orders', order)).toMatchObject({
      status: 400,
      body: { code: 'NAME_INVALID', detail: expect.stringContaining("'8/7'") },
    })
    expect(api.dom0.calls).toEqual([])
  })

  test('a backup carries how fast it may send and whether the network is metered, and only a backup', async () => {
    await using api = await startApi()
    const order = { profile: 'work', uploadBytesPerSecond: 16_384 }
    expect((await call(api, 'POST', '/v1/orders', order)).status).toBe(202)
    expect(api.dom0.calls.at(-1)).toMatch(/^backup work [0-9a-f]{32} uploadBytesPerSecond=16384$/)
    for (const wrong of [
      { ...order, kind: 'check' },
      { ...order, uploadBytesPerSecond: 16_383 },
      { profile: 'work', kind: 'scrub', metered: true },
    ])
      expect((await call(api, 'POST', '/v1/orders', wrong)).status).toBe(400)
    expect(api.dom0.calls).toHaveLength(1)
    await call(api, 'POST', '/v1/orders', { profile: 'work', metered: true })
    expect(api.dom0.calls.at(-1)).toMatch(/ metered=true$/)
  })

  test('a check, a restore and a prune carry what is theirs', async () => {
    await using api = await startApi()
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'check', read: '1/7' })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'check' })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'scrub' })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'restore', snapshot })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'restore' })
    const some = { vm: 'mail', volumes: ['private'], range: '1GiB+64MiB' }
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'restore', ...some })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'prune', dryRun: true })
    await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'prune' })
    expect(api.dom0.calls.map(line => line.split(' ').toSpliced(2, 1).join(' '))).toEqual([
      'check work read=1/7',
      'check work read=structure',
      'scrub work',
      `restore work snapshot=${snapshot}`,
      'restore work snapshot=newest',
      'restore work snapshot=newest choice={"vm":"mail","volumes":["private"],"range":{"offset":1073741824,"length":67108864},"reuse":null}',
      'prune work dryRun=true',
      'prune work dryRun=false',
    ])
  })

  test.each(['short', 'has space in it', 'x'.repeat(65)])('the key %j is refused', async bad => {
    await using api = await startApi()
    const headers = { ...authorized, 'idempotency-key': bad }
    const response = await api.app.inject({
      method: 'POST',
      url: '/v1/orders',
      headers,
      payload: { profile: 'work' },
    })
    expect(response.statusCode).toBe(400)
    expect(api.dom0.calls).toEqual([])
  })
})

describe('jobs', () => {
  test('are listed newest first, one by one, and by profile', async () => {
    await using api = await startApi()
    for (const kind of ['backup', 'check', 'restore'])
      await call(api, 'POST', '/v1/orders', { profile: 'work', kind })
    const all = await call(api, 'GET', '/v1/jobs?profile=work&count=2')
    expect(all.body.stale).toBe(false)
    expect(all.body.jobs.map((job: { kind: string }) => job.kind)).toEqual(['restore', 'check'])
    const one = await call(api, 'GET', `/v1/jobs/${all.body.jobs[0].id}`)
    expect(one.body).toEqual(all.body.jobs[0])
  })

  test('a job shows its outcome, and is remembered when dom0 has forgotten it', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.change(parseJobId(body.id), finished)
    const seen = await call(api, 'GET', `/v1/jobs/${body.id}`)
    expect(seen.body.outcome).toEqual({
      snapshot,
      bytes: 3_000_000,
      bytesStored: 1_000_000,
      volumes: 2,
      warnings: [],
    })
    api.dom0.board.clear()
    expect((await call(api, 'GET', `/v1/jobs/${body.id}`)).body).toEqual(seen.body)
    expect((await call(api, 'GET', '/v1/jobs')).body.jobs).toEqual([seen.body])
  })

  test('of a profile that does not exist are an error; of one without jobs, or unknown to a silent dom0, none', async () => {
    await using api = await startApi()
    expect(await call(api, 'GET', '/v1/jobs?profile=wrok')).toMatchObject({
      status: 404,
      body: { code: 'API_PROFILE_NOT_FOUND', detail: "dom0 offers no profile 'wrok'" },
    })
    expect((await call(api, 'GET', '/v1/jobs?profile=work')).body).toEqual({ jobs: [], stale: false })
    api.dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
    expect((await call(api, 'GET', '/v1/jobs?profile=wrok')).body).toEqual({ jobs: [], stale: true })
  })

  test('of a profile that is sealed no more are still told', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.state = { ...api.dom0.state, name: parseProfileName('other') }
    expect((await call(api, 'GET', '/v1/jobs?profile=work')).body.jobs).toMatchObject([{ id: body.id }])
  })

  test('a job shows how fast it may send', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    expect(body.progress).not.toHaveProperty('uploadBytesPerSecond')
    const progress = { ...(finished.progress as Job['progress']), uploadBytesPerSecond: 16_384 }
    api.dom0.change(parseJobId(body.id), { progress })
    const seen = await call(api, 'GET', `/v1/jobs/${body.id}`)
    expect(seen.body.progress.uploadBytesPerSecond).toBe(16_384)
  })

  test('only a backup counts what it has stored', async () => {
    await using api = await startApi()
    for (const kind of ['backup', 'check', 'restore', 'scrub']) {
      const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work', kind })
      expect(body.progress.bytesStored, kind).toBe(kind === 'backup' ? 0 : null)
    }
  })

  test('a job of which dom0 no longer knows the end is not shown as running for ever', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.board.clear()
    expect((await call(api, 'GET', '/v1/jobs')).body.jobs).toEqual([])
    expect(await call(api, 'GET', `/v1/jobs/${body.id}`)).toMatchObject({
      status: 404,
      body: { code: 'API_JOB_NOT_FOUND' },
    })
  })

  test('what was last seen is answered, and said to be stale, when dom0 is silent', async () => {
    await using api = await startApi()
    await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
    const { status, body } = await call(api, 'GET', '/v1/jobs')
    expect([status, body.stale, body.jobs.length]).toEqual([200, true, 1])
  })

  test('cancel answers with the cancelled job; an unknown one is 404', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    expect(await call(api, 'POST', `/v1/jobs/${body.id}/cancel`)).toMatchObject({
      status: 200,
      body: { state: 'cancelled' },
    })
    const unknown = '20261124T031500Z-ffffffff'
    expect(await call(api, 'POST', `/v1/jobs/${unknown}/cancel`)).toMatchObject({
      status: 404,
      body: { code: 'JOB_NOT_FOUND' },
    })
    expect((await call(api, 'GET', '/v1/jobs/7')).status).toBe(400)
  })
})

test('profiles and snapshots are dom0’s', async () => {
  await using api = await startApi()
  api.dom0.snapshotsOf = [summary]
  expect((await call(api, 'GET', '/v1/profiles')).body).toEqual({
    configuration: { version: 3, digest: 'ab'.repeat(32) },
    profiles: [{ name: 'work' }],
  })
  expect((await call(api, 'GET', '/v1/profiles/work/snapshots')).body).toEqual({
    snapshots: [{ ...summary, time: '2026-11-24T03:15:43.000Z' }],
  })
})

describe('holds', () => {
  const path = `/v1/profiles/work/snapshots/${snapshot}/hold`

  test('are set and ended by dom0, and answered with the snapshot', async () => {
    await using api = await startApi()
    api.dom0.snapshotsOf = [summary]
    const set = await call(api, 'PUT', path, { until: '2027-01-31T00:00:00Z' })
    expect(set).toMatchObject({ status: 200, body: { snapshot, heldUntil: '2027-01-31T00:00:00.000Z' } })
    const ended = await call(api, 'DELETE', path)
    expect(ended).toMatchObject({ status: 200, body: { snapshot, keptBy: [], heldUntil: null } })
    expect(api.dom0.calls).toEqual([
      `hold work ${snapshot} 2027-01-31T00:00:00.000Z`,
      `endHold work ${snapshot}`,
    ])
  })

  test.each([
    {},
    { until: 'tomorrow' },
    { until: '2027-01-31' },
    { until: '2027-01-31T00:00:00Z', why: 'x' },
  ])('until %j are refused', async body => {
    await using api = await startApi()
    api.dom0.snapshotsOf = [summary]
    expect((await call(api, 'PUT', path, body)).status).toBe(400)
    expect(api.dom0.calls).toEqual([])
  })

  test('of a snapshot that there is not are 404', async () => {
    await using api = await startApi()
    expect(await call(api, 'DELETE', path)).toMatchObject({
      status: 404,
      body: { code: 'SNAPSHOT_NOT_FOUND' },
    })
  })
})

describe('schedules', () => {
  const path = '/v1/profiles/work/schedule'

  test('are set, shown with their next five runs, replaced and removed', async () => {
    await using api = await startApi()
    expect(await call(api, 'GET', path)).toMatchObject({
      status: 404,
      body: { code: 'API_SCHEDULE_NOT_FOUND' },
    })
    const set = await call(api, 'PUT', path, { calendar: '*-*-* 02:30:00', timeZone: 'Europe/Berlin' })
    expect(set.status).toBe(200)
    expect(set.body).toEqual({
      profile: 'work',
      calendar: '*-*-* 02:30:00',
      timeZone: 'Europe/Berlin',
      jitterMinutes: 0,
      catchUp: true,
      enabled: true,
      nextRuns: [25, 26, 27, 28, 29].map(day => `2026-11-${day}T01:30:00.000Z`),
      lastJob: null,
      failure: null,
    })
    expect((await call(api, 'GET', '/v1/schedules')).body).toEqual({ schedules: [set.body] })
    const off = await call(api, 'PUT', path, {
      calendar: 'daily',
      enabled: false,
      catchUp: false,
      jitterMinutes: 30,
    })
    expect(off.body).toMatchObject({ calendar: 'daily', timeZone: 'UTC', enabled: false, nextRuns: [] })
    expect((await call(api, 'GET', path)).body).toEqual(off.body)
    expect(await call(api, 'DELETE', path)).toMatchObject({ status: 204, body: null })
    expect((await call(api, 'DELETE', path)).status).toBe(404)
  })

  test.each([
    [{ calendar: 'every now and then' }, 400],
    [{ calendar: 'daily', timeZone: 'Mars/Olympus' }, 400],
    [{ calendar: 'daily', jitterMinutes: -1 }, 400],
    [{ calendar: 'daily', jitterMinutes: 1.5 }, 400],
    [{ calendar: 'daily', command: 'rm' }, 400],
    [{}, 400],
  ])('%j is refused', async (body, status) => {
    await using api = await startApi()
    const answer = await call(api, 'PUT', path, body)
    expect(answer.status).toBe(status)
    expect(await api.catalogue.schedules.list()).toEqual([])
  })

  test('a profile that dom0 does not offer gets none', async () => {
    await using api = await startApi()
    const answer = await call(api, 'PUT', '/v1/profiles/wrok/schedule', { calendar: 'daily' })
    expect(answer).toMatchObject({ status: 404, body: { code: 'API_PROFILE_NOT_FOUND' } })
  })
})

describe('GET /v1/status', () => {
  test('configuration, next run and last results', async () => {
    await using api = await startApi()
    await call(api, 'PUT', '/v1/profiles/work/schedule', { calendar: 'daily' })
    const done = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.change(parseJobId(done.body.id), finished)
    const running = await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'check' })
    const { status, body } = await call(api, 'GET', '/v1/status')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      time: '2026-11-24T12:00:00.000Z',
      dom0: { reachable: true, code: null },
      configuration: { version: 3 },
      ledger: null,
      alarms: [],
      running: [{ id: running.body.id }],
      profiles: [
        {
          name: 'work',
          nextRun: '2026-11-25T00:00:00.000Z',
          lastBackup: { id: done.body.id, state: 'done' },
          lastSuccess: '2026-11-24T03:15:43.000Z',
          lastCheck: null,
          unreadSince: '2026-11-12T00:00:00.000Z',
        },
      ],
    })
  })

  test('what dom0 wants a person to see to is an alarm', async () => {
    await using api = await startApi()
    const alarm = { code: 'CHECK_OVERDUE', message: 'no full cycle within 7 days' }
    api.dom0.state = { ...api.dom0.state, alarms: [{ ...alarm, time: new Date('2026-11-19T00:00:00Z') }] }
    expect((await call(api, 'GET', '/v1/status')).body.alarms).toEqual([
      { ...alarm, time: '2026-11-19T00:00:00.000Z', profile: 'work' },
    ])
  })

  test('what dom0 has found wrong with its own sealed store is an alarm of no profile', async () => {
    await using api = await startApi()
    const alarm = { code: 'SEAL_CHANGED', message: 'it was changed' }
    api.dom0.alarms = [{ ...alarm, time: new Date('2026-11-19T00:00:00Z') }]
    const { body } = await call(api, 'GET', '/v1/status')
    expect(body.dom0).toEqual({ reachable: true, code: null })
    expect(body.alarms).toEqual([{ ...alarm, time: '2026-11-19T00:00:00.000Z', profile: null }])
  })

  test('damage that the storage reports is an alarm, and no check', async () => {
    await using api = await startApi()
    const { body } = await call(api, 'POST', '/v1/orders', { profile: 'work', kind: 'scrub' })
    const error = { code: 'SCRUB_DAMAGED', kind: 'integrity', message: 'one pack', hint: 'look' } as const
    api.dom0.change(parseJobId(body.id), { ...finished, state: 'failed', outcome: null, error })
    const status = await call(api, 'GET', '/v1/status')
    expect(status.body.alarms).toMatchObject([{ code: 'SCRUB_DAMAGED', profile: 'work' }])
    expect(status.body.profiles[0].lastCheck).toBeNull()
  })

  test('a failed backup is an alarm that keeps the last success in sight', async () => {
    await using api = await startApi()
    const first = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    api.dom0.change(parseJobId(first.body.id), finished)
    const second = await call(api, 'POST', '/v1/orders', { profile: 'work' })
    const error = { code: 'STORAGE_FULL', kind: 'full', message: 'no room', hint: 'make room' } as const
    api.dom0.change(parseJobId(second.body.id), { ...finished, state: 'failed', outcome: null, error })
    const { body } = await call(api, 'GET', '/v1/status')
    expect(body.alarms).toEqual([
      { code: 'STORAGE_FULL', message: 'no room', time: '2026-11-24T03:15:43.000Z', profile: 'work' },
    ])
    expect(body.profiles[0]).toMatchObject({
      lastBackup: { state: 'failed', error },
      lastSuccess: '2026-11-24T03:15:43.000Z',
    })
  })

  test('answers from memory when dom0 does not', async () => {
    await using api = await startApi()
    await call(api, 'PUT', '/v1/profiles/work/schedule', { calendar: 'daily' })
    api.dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
    const { status, body } = await call(api, 'GET', '/v1/status')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      dom0: { reachable: false, code: 'QREXEC_UNREACHABLE' },
      configuration: null,
      profiles: [{ name: work, nextRun: '2026-11-25T00:00:00.000Z' }],
      alarms: [],
    })
  })

  test('a dom0 whose sealed store was changed is an alarm', async () => {
    await using api = await startApi()
    api.dom0.failure = new SealError('SEAL_SIGNATURE_INVALID', 'a signature is wrong')
    const { status, body } = await call(api, 'GET', '/v1/status')
    expect(status).toBe(200)
    expect(body).toMatchObject({
      dom0: { reachable: false, code: 'SEAL_SIGNATURE_INVALID' },
      alarms: [{ code: 'SEAL_SIGNATURE_INVALID', message: 'a signature is wrong', profile: null }],
    })
  })
})
