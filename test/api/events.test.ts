import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { parseJobId } from '../../src/base/names.ts'
import { finished } from './fake-dom0.ts'
import { authorized, eventually, type Harness, startApi } from './harness.ts'

interface Listener {
  readonly status: number
  readonly type: string | undefined
  text: string
  ended: boolean
  destroy(): void
}

/** A real connection: what matters here is what happens to sockets. */
async function listen(
  { app }: Harness,
  job: string,
  headers: Record<string, string> = {},
): Promise<Listener> {
  if (!app.server.listening) await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return new Promise((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      path: `/v1/jobs/${job}/events`,
      headers: { ...authorized, ...headers },
    }
    const request = http.get({ ...options, agent: false }, response => {
      const listener: Listener = {
        status: response.statusCode ?? 0,
        type: response.headers['content-type'],
        text: '',
        ended: false,
        destroy: () => request.destroy(),
      }
      response.on('data', part => {
        listener.text += part
      })
      response.on('close', () => {
        listener.ended = true
      })
      response.on('error', () => {})
      resolve(listener)
    })
    request.on('error', reject)
  })
}

function eventsOf({ text }: Listener) {
  return [...text.matchAll(/id: (\w+)\nevent: job\ndata: (.*)\n\n/g)].map(([, id = '', data = '']) => ({
    id,
    state: JSON.parse(data).state as string,
    bytesDone: JSON.parse(data).progress.bytesDone as number,
  }))
}

async function order(api: Harness) {
  const response = await api.app.inject({
    method: 'POST',
    url: '/v1/orders',
    headers: authorized,
    payload: { profile: 'work' },
  })
  return parseJobId(response.json().id)
}

const reading = (bytesDone: number) => ({
  state: 'running' as const,
  progress: { phase: 'reading' as const, bytesDone, bytesTotal: 3_000_000, bytesStored: 0 },
})

test('a job is followed from its present state to its end, and other jobs of the profile are left out', async () => {
  await using api = await startApi()
  const job = await order(api)
  const other = await order(api)
  const listener = await listen(api, job)
  expect([listener.status, listener.type]).toEqual([200, 'text/event-stream; charset=utf-8'])
  await eventually(() => api.dom0.followers === 1)
  api.dom0.change(job, reading(1))
  api.dom0.change(other, reading(77))
  api.dom0.change(job, reading(1))
  api.dom0.change(job, finished)
  await eventually(() => listener.ended)
  expect(listener.text.startsWith('retry: 2000\n\n')).toBe(true)
  expect(eventsOf(listener).map(event => [event.state, event.bytesDone])).toEqual([
    ['waiting', 0],
    ['running', 1],
    ['done', 3_000_000],
  ])
  await eventually(() => api.dom0.followers === 0)
})

test('whoever was cut off goes on from the last event', async () => {
  await using api = await startApi()
  const job = await order(api)
  const first = await listen(api, job)
  await eventually(() => eventsOf(first).length === 1)
  first.destroy()
  await eventually(() => api.dom0.followers === 0)
  const [seen] = eventsOf(first)
  const second = await listen(api, job, { 'last-event-id': seen?.id ?? '' })
  await eventually(() => api.dom0.followers === 1)
  api.dom0.change(job, finished)
  await eventually(() => second.ended)
  expect(eventsOf(second).map(event => event.state)).toEqual(['done'])
  const third = await listen(api, job, { 'last-event-id': eventsOf(second)[0]?.id ?? '' })
  expect(third.status).toBe(204)
})

test('a job that has ended is one event', async () => {
  await using api = await startApi()
  const job = await order(api)
  api.dom0.change(job, finished)
  const listener = await listen(api, job)
  await eventually(() => listener.ended)
  expect(eventsOf(listener).map(event => event.state)).toEqual(['done'])
  expect(api.dom0.calls).not.toContain('events work')
})

test('silence is broken by heartbeats, and each looks whether the end was missed', async () => {
  await using api = await startApi()
  const job = await order(api)
  const listener = await listen(api, job)
  await eventually(() => api.dom0.followers === 1)
  await api.clock.pass(15_000)
  await eventually(() => listener.text.endsWith(': heartbeat\n\n'))
  api.dom0.board.set(job, { ...(await api.dom0.jobs())[0], ...finished } as never)
  await api.clock.pass(15_000)
  await eventually(() => listener.ended)
  expect(eventsOf(listener).map(event => event.state)).toEqual(['waiting', 'done'])
})

test('the stream ends when dom0’s does, with what dom0 last says', async () => {
  await using api = await startApi()
  const job = await order(api)
  const listener = await listen(api, job)
  await eventually(() => api.dom0.followers === 1)
  api.dom0.endEvents()
  await eventually(() => listener.ended)
  expect(eventsOf(listener).map(event => event.state)).toEqual(['waiting'])
})

test('closing the API ends the streams, and those who listen are not waited for', async () => {
  const api = await startApi()
  const job = await order(api)
  const listener = await listen(api, job)
  await eventually(() => api.dom0.followers === 1)
  await api[Symbol.asyncDispose]()
  await eventually(() => listener.ended)
  expect(api.dom0.followers).toBe(0)
})

test('at most 64 streams are open, and one that ended makes room', async () => {
  await using api = await startApi()
  const job = await order(api)
  const listeners: Listener[] = []
  for (let count = 0; count < 64; count++) listeners.push(await listen(api, job))
  expect((await listen(api, job)).status).toBe(503)
  expect(api.dom0.followers).toBe(1)
  listeners[0]?.destroy()
  let status = 503
  while (status === 503) status = (await listen(api, job)).status
  expect(status).toBe(200)
  // They all share one stream of dom0, and all hear the end.
  api.dom0.change(job, finished)
  await eventually(() => listeners.every(({ ended }) => ended))
  for (const listener of listeners.slice(1)) expect(eventsOf(listener).at(-1)?.state).toBe('done')
  await eventually(() => api.dom0.followers === 0)
})
