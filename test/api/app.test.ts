import { describe, expect, test } from 'vitest'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { work } from './fake-dom0.ts'
import { authorized, startApi, token } from './harness.ts'

const problemType = 'application/problem+json; charset=utf-8'

describe('every answer of the API', () => {
  test('health answers whoever has the token', async () => {
    await using api = await startApi()
    const response = await api.app.inject({ url: '/v1/health', headers: authorized })
    expect(response.statusCode).toBe(200)
    expect(response.json()).toEqual({ status: 'ok' })
    expect(response.headers['cache-control']).toBe('no-store')
  })

  test('no path answers without the token: neither routes, nor the description, nor what does not exist', async () => {
    await using api = await startApi()
    const paths = Object.keys(api.app.swagger().paths ?? {})
    expect(paths.length).toBeGreaterThan(9)
    const all = [
      ...paths.map(path => path.replace('{id}', 'x').replace('{name}', 'work')),
      '/openapi.json',
      '/nothing',
    ]
    for (const url of all)
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD'] as const)
        for (const authorization of [
          undefined,
          'Bearer',
          `Basic ${token}`,
          `Bearer ${token}0`,
          `Bearer ${'0'.repeat(64)}`,
        ]) {
          const response = await api.app.inject({
            url,
            method,
            headers: authorization ? { authorization } : {},
          })
          expect([response.statusCode, response.headers['content-type']], `${method} ${url}`).toEqual([
            401,
            problemType,
          ])
          expect(response.headers['www-authenticate']).toBe('Bearer realm="strongroom"')
        }
    expect(api.dom0.calls).toEqual([])
  })

  test('a path that does not exist is 404, a method that it does not take is 405 with Allow', async () => {
    await using api = await startApi()
    const missing = await api.app.inject({ url: '/v1/nothing', headers: authorized })
    expect(missing.statusCode).toBe(404)
    expect(missing.headers['content-type']).toBe(problemType)
    expect(missing.json()).toMatchObject({ status: 404, code: 'API_NOT_FOUND', kind: 'missing' })
    const wrong = await api.app.inject({
      method: 'PATCH',
      url: '/v1/profiles/work/schedule?x=1',
      headers: authorized,
    })
    expect(wrong.statusCode).toBe(405)
    expect(wrong.headers.allow).toBe('DELETE, GET, PUT')
    expect(wrong.json()).toMatchObject({ status: 405, code: 'API_METHOD' })
  })

  test.each([
    ['an unknown field', { profile: 'work', path: '/etc' }, "unknown field 'path'"],
    ['no profile', {}, "must have required property 'profile'"],
    ['a wrong type', { profile: 7 }, 'must be string'],
    ['no coercion', { profile: 'work', kind: 'check', read: true }, 'must be string'],
    ['a name with a path in it', { profile: '../work' }, 'must match pattern'],
    ['an unknown kind', { profile: 'work', kind: 'erase' }, 'backup, check, drill, restore, scrub, prune'],
    [
      'a field of another kind',
      { profile: 'work', snapshot: 'ab'.repeat(32) },
      "'snapshot' is for kind restore or drill",
    ],
    ['read without a check', { profile: 'work', read: 'all' }, "'read' is for kind check"],
    ['read of a scrub', { profile: 'work', kind: 'scrub', read: 'all' }, "'read' is for kind check"],
    ['a VM of a check', { profile: 'work', kind: 'check', vm: 'mail' }, "'vm' is for kind restore"],
    ['a path for a VM', { profile: 'work', kind: 'restore', vm: '../mail' }, 'must match pattern'],
    ['no volume at all', { profile: 'work', kind: 'restore', vm: 'mail', volumes: [] }, 'fewer than 1'],
    ['a list', [], 'must be object'],
  ])('a body with %s is refused and nothing is ordered', async (_name, body, detail) => {
    await using api = await startApi()
    const response = await api.app.inject({
      method: 'POST',
      url: '/v1/orders',
      headers: authorized,
      payload: body,
    })
    expect(response.statusCode).toBe(400)
    expect(response.headers['content-type']).toBe(problemType)
    expect(response.json()).toMatchObject({
      code: 'API_REQUEST_INVALID',
      detail: expect.stringContaining(detail),
    })
    expect(api.dom0.calls).toEqual([])
  })

  test.each([
    ['duplicate keys', '{"profile":"work","profile":"home"}', 'application/json', 400, 'JSON_INVALID'],
    ['malformed JSON', '{"profile":', 'application/json', 400, 'JSON_INVALID'],
    ['an empty body', '', 'application/json', 400, 'JSON_INVALID'],
    ['nesting', '['.repeat(20) + ']'.repeat(20), 'application/json', 400, 'JSON_INVALID'],
    ['text', 'profile=work', 'text/plain', 415, 'API_MEDIA_TYPE'],
    ['a form', 'profile=work', 'application/x-www-form-urlencoded', 415, 'API_MEDIA_TYPE'],
    [
      'too much',
      JSON.stringify({ profile: 'w'.repeat(20_000) }),
      'application/json',
      413,
      'API_BODY_TOO_LARGE',
    ],
  ])('a body of %s is refused', async (_name, payload, type, status, code) => {
    await using api = await startApi()
    const headers = { ...authorized, 'content-type': type }
    const response = await api.app.inject({ method: 'POST', url: '/v1/orders', headers, payload })
    expect([response.statusCode, response.json().code]).toEqual([status, code])
    expect(response.headers['content-type']).toBe(problemType)
  })

  test('a malformed URL is a problem too', async () => {
    await using api = await startApi()
    const response = await api.app.inject({ url: '/v1/jobs/%zz', headers: authorized })
    expect(response.statusCode).toBe(400)
    expect(response.headers['content-type']).toBe(problemType)
  })

  test('below 500 the refusal of dom0 speaks for itself', async () => {
    await using api = await startApi()
    const response = await api.app.inject({
      method: 'POST',
      url: '/v1/orders',
      headers: authorized,
      payload: { profile: 'holiday' },
    })
    expect(response.statusCode).toBe(404)
    expect(response.json()).toEqual({
      type: 'urn:strongroom:error:PROFILE_NOT_FOUND',
      title: 'there is no such thing',
      status: 404,
      detail: "there is no profile 'holiday'",
      code: 'PROFILE_NOT_FOUND',
      kind: 'missing',
      hint: 'seal a profile of that name, or correct the name',
    })
  })

  test.each([
    [new QrexecError('QREXEC_UNREACHABLE', 'socket /run/secret/path'), 503, 'QREXEC_UNREACHABLE'],
    [new QrexecError('QREXEC_TIMEOUT', 'dom0 at /run/secret/path'), 504, 'QREXEC_TIMEOUT'],
    [new TypeError('undefined is not /run/secret/path'), 500, 'INTERNAL'],
  ])('from 500 a fixed phrase, and the cause is in the log (%s)', async (failure, status, code) => {
    await using api = await startApi()
    api.dom0.failure = failure
    const response = await api.app.inject({ url: `/v1/profiles/${work}/snapshots`, headers: authorized })
    expect([response.statusCode, response.json().code]).toEqual([status, code])
    expect(response.body).not.toContain('secret')
    expect(api.log.lines.find(line => line.level === 'error')?.fields.error).toBe(failure)
  })
})

describe('/openapi.json', () => {
  test('describes every route, with the token, the problems and closed bodies', async () => {
    await using api = await startApi()
    const response = await api.app.inject({ url: '/openapi.json', headers: authorized })
    expect(response.statusCode).toBe(200)
    const document = response.json()
    expect(document.openapi).toBe('3.1.0')
    expect(document.security).toEqual([{ token: [] }])
    expect(Object.keys(document.paths).sort()).toEqual([
      '/v1/attestation',
      '/v1/health',
      '/v1/jobs',
      '/v1/jobs/{id}',
      '/v1/jobs/{id}/cancel',
      '/v1/jobs/{id}/events',
      '/v1/jobs/{id}/report',
      '/v1/ledger',
      '/v1/ledger/alarm',
      '/v1/orders',
      '/v1/profiles',
      '/v1/profiles/{name}/schedule',
      '/v1/profiles/{name}/snapshots',
      '/v1/profiles/{name}/snapshots/{snapshot}/hold',
      '/v1/schedules',
      '/v1/status',
    ])
    expect(Object.keys(document.components.schemas).sort()).toEqual([
      'Job',
      'Problem',
      'Schedule',
      'Snapshot',
    ])
    for (const [path, operations] of Object.entries<Record<string, Record<string, unknown>>>(document.paths))
      for (const [method, operation] of Object.entries(operations)) {
        expect(operation, `${method} ${path}`).toHaveProperty('summary')
        expect(operation).toHaveProperty('responses')
      }
    const order = document.paths['/v1/orders'].post
    expect(order.requestBody.content['application/json'].schema.additionalProperties).toBe(false)
    expect(order.responses['202'].content['application/json'].schema).toEqual({
      $ref: '#/components/schemas/Job',
    })
    expect(JSON.stringify(document)).not.toContain('"$id"')
    for (const reference of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g))
      expect(document.components.schemas).toHaveProperty(reference[1] ?? '')
  })
})
