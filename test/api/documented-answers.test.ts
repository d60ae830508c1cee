import { expect, test } from 'vitest'
import { parseJobId } from '../../src/base/names.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { finished, summary } from './fake-dom0.ts'
import { authorized, startApi } from './harness.ts'
import { entries, ledgerKey, origin, pages } from './ledger-pages.ts'

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
interface Answer {
  readonly content?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, unknown>>
}

test('every answer is documented, and every answer that is documented is given', async () => {
  const machine = { latest: null, look: async () => null }
  await using api = await startApi({ ledger: { origin, verifierKeys: [ledgerKey.name] }, machine })
  const { paths } = (await api.app.inject({ url: '/openapi.json', headers: authorized })).json()
  const given = new Set<string>()

  /** `template`: the path as documented; `values` fill it in. */
  async function call(
    method: Method,
    template: string,
    values: Readonly<Record<string, string>> = {},
    options: { readonly payload?: object; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    const url = template.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? '')
    const headers = { ...authorized, ...options.headers }
    const { payload } = options
    const response = await api.app.inject({ method, url, headers, ...(payload ? { payload } : {}) })
    const { statusCode } = response
    const documented: Record<string, Answer> = paths[template][method.toLowerCase()].responses
    const name = statusCode < 400 ? String(statusCode) : `${Math.floor(statusCode / 100)}XX`
    const what = `${method} ${template} ${name}`
    given.add(what)
    expect(documented, what).toHaveProperty(name)
    const { content, headers: namedHeaders } = documented[name] ?? {}
    const type = response.headers['content-type']
    expect([type?.toString().split(';')[0]].filter(Boolean), what).toEqual(Object.keys(content ?? {}))
    for (const header of Object.keys(namedHeaders ?? {}))
      expect(response.headers, what).toHaveProperty(header)
    return response
  }

  const work = { name: 'work' }
  const nowhere = { name: 'wrok' }
  const order = (kind: string) => call('POST', '/v1/orders', {}, { payload: { profile: 'work', kind } })
  const schedule = '/v1/profiles/{name}/schedule'

  for (const path of ['/v1/health', '/v1/status', '/v1/profiles', '/v1/jobs', '/v1/schedules'])
    await call('GET', path)
  for (const method of ['GET', 'POST'] as const) await call(method, '/v1/attestation')
  api.dom0.snapshotsOf = [summary]
  const held = { ...work, snapshot: summary.snapshot }
  const hold = '/v1/profiles/{name}/snapshots/{snapshot}/hold'
  await call('GET', '/v1/profiles/{name}/snapshots', work)
  await call('PUT', hold, held, { payload: { until: '2027-01-31T00:00:00Z' } })
  await call('DELETE', hold, held)
  await call('PUT', hold, held, { payload: {} })
  await call('GET', schedule, work)
  await call('PUT', schedule, work, { payload: { calendar: 'daily' } })
  await call('PUT', schedule, nowhere, { payload: { calendar: 'daily' } })
  await call('GET', schedule, work)
  await call('DELETE', schedule, work)
  await call('DELETE', schedule, work)
  await call('POST', '/v1/orders', {}, { payload: { profile: 'holiday' } })

  const id = parseJobId((await order('backup')).json().id)
  api.dom0.change(id, finished)
  await call('GET', '/v1/jobs/{id}', { id })
  const stream = await call('GET', '/v1/jobs/{id}/events', { id })
  const [, seen = ''] = /^id: (.*)$/m.exec(stream.body) ?? []
  await call('GET', '/v1/jobs/{id}/events', { id }, { headers: { 'last-event-id': seen } })
  await call('GET', '/v1/jobs/{id}/events', { id: '20261124T031500Z-ffffffff' })
  await call('GET', '/v1/jobs/{id}', { id: 'x' })
  const other = (await order('check')).json().id
  await call('POST', '/v1/jobs/{id}/cancel', { id: other })
  await call('POST', '/v1/jobs/{id}/cancel', { id: '20261124T031500Z-ffffffff' })
  const drill = (await order('drill')).json().id
  await call('GET', '/v1/jobs/{id}/report', { id: drill })
  await call('GET', '/v1/jobs/{id}/report', { id: '20261124T031500Z-ffffffff' })

  api.dom0.ledgerPage = await pages(entries(3))
  await call('GET', '/v1/ledger')
  await call('DELETE', '/v1/ledger/alarm')
  const alarm = { code: 'LEDGER_FORKED', message: 'another past', time: api.clock.now() }
  const state = { origin, size: 3, root: '00'.repeat(32), checkpoint: '', seen: api.clock.now() }
  await api.catalogue.witness.put({ ...state, alarm })
  await call('DELETE', '/v1/ledger/alarm')

  api.dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
  for (const path of ['/v1/profiles', '/v1/ledger']) await call('GET', path)
  await order('backup')

  const promised = Object.entries<Record<string, { responses: object }>>(paths).flatMap(
    ([path, operations]) =>
      Object.entries(operations).flatMap(([method, { responses }]) =>
        Object.keys(responses).map(name => `${method.toUpperCase()} ${path} ${name}`),
      ),
  )
  expect(promised.filter(name => !name.endsWith('XX') && !given.has(name))).toEqual([])
})
