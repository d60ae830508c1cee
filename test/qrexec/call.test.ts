import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { BaseError } from '../../src/base/base-errors.ts'
import { utf8 } from '../../src/base/bytes.ts'
import { fields, is } from '../../src/base/json.ts'
import { createLog, type Log, silentLog } from '../../src/base/log.ts'
import { dom0, parseVmName, type VmName } from '../../src/base/names.ts'
import { readAll } from '../../src/base/reader.ts'
import type { Call, Transport } from '../../src/qrexec/call.ts'
import { json } from '../../src/qrexec/calls/codecs.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer, type Handler, respond, type Server } from '../../src/qrexec/server.ts'
import { copyingPair } from '../support/copying-pair.ts'

const mgmt = parseVmName('mgmt')
const other = parseVmName('other')
const never = new AbortController().signal

const double = {
  service: 'test.Double',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'twice the number',
  request: json(fields('request', { number: is.integer() }), 100),
  response: json(fields('response', { number: is.integer(), who: is.string(100) }), 200),
} as const satisfies Call<{ number: number }, { number: number; who: string }>

const doubling = respond(double, async ({ number }, { source, argument }) => ({
  number: 2 * number,
  who: `${source} ${argument}`,
}))

/** Calls of `mgmt` to whatever `server` serves, without any host between. */
function wiredTo(server: Server): Transport {
  return {
    async open(service, argument, _target, signal) {
      const [near, far] = duplexPair()
      server.accept(far)
      near.write(
        encodeDescriptor({ service, argument, source: mgmt, requested: { type: 'name', target: 'dom0' } }),
      )
      signal.addEventListener('abort', () => near.destroy(signal.reason), { once: true })
      return near
    },
  }
}

function answeredBy(act: (far: Duplex, near: Duplex) => void): Transport {
  return {
    async open() {
      const [near, far] = duplexPair()
      act(far, near)
      return near
    },
  }
}

const serverOf = (handler: Handler, log: Log = silentLog) => createServer({ 'test.Double': handler }, { log })
const callDouble = (transport: Transport, number = 21, milliseconds = 5_000, signal = never) =>
  callOver(transport, double, dom0, 'nightly', { number }, signal, milliseconds)

describe('a call', () => {
  test('is answered, and the server knows caller and argument', async () => {
    expect(await callDouble(wiredTo(serverOf(doubling)))).toEqual({ number: 42, who: 'mgmt nightly' })
  })

  test('leaves its answer in no part of what the stream gave: it may have been a passphrase', async () => {
    const parts: Buffer[] = []
    const answering = answeredBy((far, near) => {
      near.on('data', (part: Buffer) => parts.push(part))
      far.end(Buffer.from('0\0{"number":42,"who":"nobody"}'))
    })
    expect(await callDouble(answering)).toEqual({ number: 42, who: 'nobody' })
    expect(parts.length).toBeGreaterThan(0)
    expect(parts.every(part => part.every(byte => byte === 0))).toBe(true)
  })

  test('that the handler refuses throws the code, kind and hint of the far side', async () => {
    const refusing = respond(double, async () => {
      throw new BaseError('CANCELLED', 'stopped at 50%')
    })
    await expect(callDouble(wiredTo(serverOf(refusing)))).rejects.toMatchObject({
      name: 'RemoteError',
      code: 'CANCELLED',
      kind: 'cancelled',
      message: 'stopped at 50%',
      hint: 'order again when wanted',
    })
  })

  test('whose handler crashes tells the caller nothing, and the log everything', async () => {
    const lines: string[] = []
    const crashing = respond(double, async () => {
      throw new TypeError('secret detail')
    })
    const server = serverOf(
      crashing,
      createLog('test', line => lines.push(line)),
    )
    const error = await callDouble(wiredTo(server)).catch(error => error)
    expect(error).toMatchObject({ code: 'INTERNAL', kind: 'failed' })
    expect(error.message).not.toContain('secret detail')
    expect(lines.join('')).toContain('secret detail')
  })

  test('with a malformed request is refused by its codec', async () => {
    const [near, far] = duplexPair()
    serverOf(doubling).accept(far)
    near.end(
      Buffer.concat([encodeDescriptor({ service: 'test.Double', argument: '', source: mgmt }), utf8('{}')]),
    )
    const text = (await readAll(near, 1000)).parse(bytes => Buffer.from(bytes).toString())
    expect(text).toMatch(/^2\0FIELD_INVALID\0\0/)
  })

  test('in stock form answers with the class of qubesd', async () => {
    const stock = respond(
      double,
      async () => {
        throw new BaseError('CANCELLED', 'Backup cancelled')
      },
      { stockExceptions: true },
    )
    await expect(callDouble(wiredTo(serverOf(stock)))).rejects.toMatchObject({ code: 'BackupCancelledError' })
  })

  test('with a request over the limit does not leave this VM', async () => {
    const big = { ...double, request: { ...double.request, bytesMax: 5 } }
    const call = callOver(wiredTo(serverOf(doubling)), big, dom0, '', { number: 123456 }, never, 1000)
    await expect(call).rejects.toMatchObject({ code: 'QREXEC_REQUEST_INVALID' })
  })

  test('to an unknown service gets no answer', async () => {
    const server = createServer({}, { log: silentLog })
    await expect(callDouble(wiredTo(server))).rejects.toMatchObject({
      code: expect.stringMatching(/^QREXEC_(ANSWER_INVALID|UNREACHABLE)$/),
    })
  })

  test('not answered in time throws QREXEC_TIMEOUT', async () => {
    const silent = answeredBy(() => {})
    await expect(callDouble(silent, 1, 20)).rejects.toMatchObject({ code: 'QREXEC_TIMEOUT' })
  })

  test('that is aborted throws the reason', async () => {
    const abort = new AbortController()
    const call = callDouble(
      answeredBy(() => {}),
      1,
      5_000,
      abort.signal,
    )
    const reason = new BaseError('CANCELLED', 'enough')
    setImmediate(() => abort.abort(reason))
    await expect(call).rejects.toBe(reason)
  })

  test.each([
    ['an empty answer', (far: Duplex) => far.end(), 'QREXEC_ANSWER_INVALID'],
    ['an endless answer', (far: Duplex) => far.end(Buffer.alloc(200_000, 0x30)), 'QREXEC_ANSWER_INVALID'],
    [
      'a broken connection',
      (_: Duplex, near: Duplex) => near.destroy(new Error('EPIPE')),
      'QREXEC_UNREACHABLE',
    ],
    ['an answer that its codec refuses', (far: Duplex) => far.end('0\0{}'), 'FIELD_INVALID'],
  ])('%s is a typed error', async (_, act, code) => {
    await expect(callDouble(answeredBy(act))).rejects.toMatchObject({ code })
  })
})

describe('an answer', () => {
  async function encodedOf(bytesMax: number, act: (near: Duplex) => Promise<unknown>) {
    let encoded: Uint8Array = new Uint8Array(0)
    const response = {
      ...double.response,
      bytesMax,
      encode: (value: { number: number; who: string }) => {
        encoded = double.response.encode(value)
        return encoded
      },
    }
    const [near, far] = copyingPair()
    near.on('error', () => {})
    serverOf(respond({ ...double, response }, async () => ({ number: 1, who: 'x' }))).accept(far)
    near.write(encodeDescriptor({ service: 'test.Double', argument: 'a', source: mgmt }))
    near.end('{"number":4}')
    const result = await act(near)
    while (encoded.byteLength === 0 || !far.destroyed) await new Promise(resolve => setImmediate(resolve))
    return { encoded, result }
  }

  test('is zeroed in the server once it has left', async () => {
    const { encoded, result } = await encodedOf(200, async near =>
      (await readAll(near, 100)).parse(bytes => Buffer.from(bytes).toString()),
    )
    expect(result).toBe('0\0{"number":1,"who":"x"}')
    expect(encoded.every(byte => byte === 0)).toBe(true)
  })

  test('is zeroed too when nobody takes it, or when it is too long to be sent', async () => {
    const gone = await encodedOf(200, async near => near.destroy())
    const tooLong = await encodedOf(3, async near => (await readAll(near, 1000)).parse(String))
    for (const { encoded } of [gone, tooLong]) expect(encoded.every(byte => byte === 0)).toBe(true)
  })
})

describe('the server', () => {
  test('survives headers that are none, and goes on serving', async () => {
    const server = serverOf(doubling)
    for (const header of ['', '\0', 'x', 'a b c\0', `${'x'.repeat(5000)}`, '\xff\xfe \0']) {
      const [near, far] = duplexPair()
      near.on('error', () => {})
      server.accept(far)
      near.end(header)
      const answered = await readAll(near, 10).then(
        bytes => bytes.parse(({ byteLength }) => byteLength),
        () => 0,
      )
      expect({ header, answered, closed: far.destroyed }).toEqual({ header, answered: 0, closed: true })
    }
    expect(await callDouble(wiredTo(server))).toMatchObject({ number: 42 })
  })

  test('takes a header byte by byte', async () => {
    const [near, far] = duplexPair()
    serverOf(doubling).accept(far)
    const bytes = encodeDescriptor({ service: 'test.Double', argument: 'a', source: mgmt })
    for (const byte of [...bytes, ...utf8('{"number":4}')]) near.write(Uint8Array.of(byte))
    near.end()
    const text = (await readAll(near, 1000)).parse(bytes => Buffer.from(bytes).toString())
    expect(text).toBe('0\0{"number":8,"who":"mgmt a"}')
  })

  test('refuses connections over its limit and frees a place when one ends', async () => {
    let release = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    const waiting = respond(double, async () => {
      await held
      return { number: 1, who: 'x' }
    })
    const server = createServer({ 'test.Double': waiting }, { log: silentLog, connectionsMax: 1 })
    const first = callDouble(wiredTo(server))
    await expect(callDouble(wiredTo(server))).rejects.toMatchObject({ kind: 'unavailable' })
    release()
    expect(await first).toEqual({ number: 1, who: 'x' })
    await new Promise(resolve => setImmediate(resolve))
    expect(await callDouble(wiredTo(server))).toEqual({ number: 1, who: 'x' })
  })

  test('leaves room for others when one VM holds all it can', async () => {
    let release = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    const waiting = respond(double, async (_, { source }) => {
      if (source === mgmt) await held
      return { number: 1, who: source }
    })
    const server = createServer({ 'test.Double': waiting }, { log: silentLog, connectionsMax: 4 })
    const ask = async (source: VmName) => {
      const [near, far] = duplexPair()
      server.accept(far)
      near.write(encodeDescriptor({ service: 'test.Double', argument: 'a', source }))
      near.end('{"number":4}')
      return (await readAll(near, 1000)).parse(bytes => Buffer.from(bytes).toString())
    }
    const first = [ask(mgmt), ask(mgmt)]
    await new Promise(resolve => setImmediate(resolve))
    expect(await ask(mgmt)).toBe('')
    expect(await ask(other)).toBe('0\0{"number":1,"who":"other"}')
    release()
    expect(await Promise.all(first)).toEqual(Array(2).fill('0\0{"number":1,"who":"mgmt"}'))
    expect(await ask(mgmt)).toBe('0\0{"number":1,"who":"mgmt"}')
  })

  test('does not cancel what a caller has ordered and left', async () => {
    let seen: AbortSignal | null = null
    let finish = () => {}
    const done = new Promise<void>(resolve => {
      finish = resolve
    })
    const slow = respond(double, async (_, { signal }) => {
      seen = signal
      await new Promise(resolve => setTimeout(resolve, 30))
      finish()
      return { number: 1, who: 'x' }
    })
    await expect(callDouble(wiredTo(serverOf(slow)), 1, 10)).rejects.toMatchObject({ code: 'QREXEC_TIMEOUT' })
    await done
    expect(seen).toMatchObject({ aborted: false })
  })
})
