import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import http, { type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BaseError } from '../../src/base/base-errors.ts'
import { CodedError } from '../../src/base/errors.ts'
import { parseAddress, readToken } from '../../src/cli/address.ts'
import { parseJobView, parseProblem, parseStatusView } from '../../src/cli/answers.ts'
import { ApiClient } from '../../src/cli/client.ts'
import { readEvents } from '../../src/cli/event-stream.ts'
import { authorized, startApi, token } from '../api/harness.ts'
import { runHere, startStand } from './harness.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-client-'))
})
afterEach(() => rm(directory, { recursive: true }))

describe('addresses', () => {
  test.each([
    ['unix:/run/api.sock', { protocol: 'http:', socketPath: '/run/api.sock' }],
    ['http://127.0.0.1:7000', { protocol: 'http:', hostname: '127.0.0.1', port: 7000 }],
    ['http://[::1]:7000/', { protocol: 'http:', hostname: '::1', port: 7000 }],
    ['http://localhost', { protocol: 'http:', hostname: 'localhost', port: 80 }],
    ['https://backup.example', { protocol: 'https:', hostname: 'backup.example', port: 443 }],
  ])('%s', (text, address) => expect(parseAddress(text)).toEqual(address))

  test.each([
    '',
    'backup.example',
    'unix:relative',
    'ftp://127.0.0.1',
    'http://backup.example',
    'http://127.0.0.1.example',
    'http://10.0.0.1:80',
    'http://user:secret@127.0.0.1',
    'http://127.0.0.1/path',
    'http://127.0.0.1/?query',
  ])('%j is refused', text => {
    expect(() => parseAddress(text)).toThrow(expect.objectContaining({ code: 'CLI_ADDRESS' }))
  })
})

test('a Unix socket serves as well as TCP', async () => {
  await using api = await startApi()
  const socketPath = path.join(directory, 'api.sock')
  await api.app.listen({ path: socketPath })
  await chmod(socketPath, 0o600)
  await using stand = await startStand()
  const run = await stand.run(['--api', `unix:${socketPath}`, 'order', 'work', '--quiet'])
  expect([run.code, run.stderr]).toEqual([0, ''])
  expect([...api.dom0.board.keys()]).toEqual([run.stdout.trim()])
})

describe('a server that is not ours', () => {
  async function against(listener: RequestListener): Promise<{ code: number | null; stderr: string }> {
    const server = http.createServer(listener)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    try {
      await using stand = await startStand()
      const { port } = server.address() as AddressInfo
      return await stand.run(['--api', `http://127.0.0.1:${port}`, 'status'])
    } finally {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    }
  }

  test.each<[string, number, string]>([
    ['HTML', 200, '<html>'],
    ['JSON of another shape', 200, '{"hello":1}'],
    ['an error of another shape', 500, '{"error":"x"}'],
    ['nothing', 200, ''],
    ['a redirect', 302, '{}'],
  ])('%s gives a coded error', async (_name, status, body) => {
    const { code, stderr } = await against((_request, response) => {
      response.writeHead(status, { location: 'http://192.0.2.1/' })
      response.end(body)
    })
    expect(code).toBe(13)
    expect(stderr).toContain('[CLI_ANSWER_INVALID]')
  })

  test('a connection that breaks gives a coded error', async () => {
    const { code, stderr } = await against((_request, response) => {
      response.writeHead(200, { 'content-length': 1000 })
      response.write('{')
      setTimeout(() => response.destroy(), 20)
    })
    expect([code, stderr.includes('[CLI_UNREACHABLE]')]).toEqual([13, true])
  })

  test('escape sequences in an error do not reach the terminal', async () => {
    const problem = { type: 'x', title: 'x', status: 400, code: 'EVIL', kind: 'usage' }
    const { code, stderr } = await against((_request, response) => {
      response.writeHead(400)
      response.end(JSON.stringify({ ...problem, detail: '\u001b]0;owned\u0007', hint: 'a\nerror: fake' }))
    })
    expect(code).toBe(2)
    expect(stderr).toBe('error: ?]0;owned? [EVIL]\nhint: a?error: fake\n')
  })
})

test('whatever answers, the parsers give a value or a coded error', async () => {
  await using api = await startApi()
  const status = (await api.app.inject({ url: '/v1/status', headers: authorized })).json()
  expect(parseStatusView(status)).toEqual(status)
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(status)), (value, key) => {
      for (const untrusted of [value, { ...status, [key]: value }]) {
        try {
          parseStatusView(untrusted)
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
        }
      }
    }),
  )
})

describe('server-sent events', () => {
  test('are the same however they are cut', async () => {
    const text =
      'retry: 2000\n\nid: 1\nevent: job\ndata: {"ü":1}\n\n: heartbeat\n\ndata: a\ndata:b\nid: 2\n\nid: 3\nevent: lost'
    const bytes = Buffer.from(text)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: bytes.length - 1 })), async cuts => {
        const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length]
        const parts = edges.slice(1).map((end, at) => bytes.subarray(edges[at], end))
        const events = []
        for await (const event of readEvents(Readable.from(parts), 1000)) events.push(event)
        expect(events).toEqual([
          { id: '1', event: 'job', data: '{"ü":1}' },
          { id: '2', event: 'message', data: 'a\nb' },
        ])
      }),
    )
  })

  test('a line that never ends is cut off', async () => {
    const stream = new PassThrough()
    stream.write('x'.repeat(2000))
    const first = readEvents(stream, 1000).next()
    await expect(first).rejects.toMatchObject({ code: 'STREAM_TOO_LONG' })
    await expect(first).rejects.toBeInstanceOf(BaseError)
  })
})

test('the token is a secret: it is not printed, and nothing is sent once it is zeroed', async () => {
  await using stand = await startStand()
  using secret = await readToken(stand.tokenFile)
  expect(secret.expose(bytes => Buffer.from(bytes).toString())).toBe(token)
  const client = new ApiClient(parseAddress(stand.tcp), secret)
  expect(JSON.stringify(client) + String(secret)).not.toContain(token)
  secret.dispose()
  await expect(client.request('GET', '/v1/health', value => value)).rejects.toMatchObject({
    code: 'SECRET_DISPOSED',
  })
})

test('what the API says cannot drive the terminal', () => {
  const hostile = '\u001b]0;title\u0007\u009b2J\u202e'
  const time = '2026-11-24T03:15:00.000Z'
  const job = parseJobView({
    ...{ id: hostile, profile: hostile, kind: 'backup', state: 'done', initiator: hostile, key: hostile },
    ...{ ordered: time, started: null, ended: null, outcome: { snapshot: hostile, warnings: [hostile] } },
    progress: { phase: 'ended', bytesDone: 0, bytesTotal: 0, bytesStored: 0 },
    error: { code: hostile, kind: 'failed', message: hostile, hint: hostile },
  })
  const problem = parseProblem({
    ...{ type: hostile, title: hostile, status: 400, detail: hostile },
    ...{ code: hostile, kind: 'usage', hint: hostile },
  })
  // Escaped by JSON alone, a control character would be there as `\u001b`.
  expect(JSON.stringify([job, problem])).not.toMatch(/\\u|[\u0080-\u009f\u202e]/)
  expect(job.profile).toBe('?]0;title??2J?')
})

test('what is no token of the API never leaves as one', async () => {
  await using stand = await startStand()
  const linked = path.join(stand.directory, 'linked')
  await writeFile(path.join(stand.directory, 'pin'), '98345448\n')
  await symlink('pin', linked)
  await expect(readToken(linked)).rejects.toMatchObject({ code: 'CLI_TOKEN_FILE' })
})

test('colours are for terminals only, and not against NO_COLOR', async () => {
  await using stand = await startStand()
  const own = { STRONGROOM_API: stand.tcp, STRONGROOM_TOKEN_FILE: stand.tokenFile }
  expect((await runHere(['status'], own, 80)).stdout).toContain('\u001b[32mno alarms')
  expect((await runHere(['status'], { ...own, NO_COLOR: '1' }, 80)).stdout).not.toContain('\u001b')
  expect((await runHere(['status'], own)).stdout).not.toContain('\u001b')
})
