import type { Duplex } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { storageGrant, storageObjects, storageRead } from '../../src/qrexec/calls/storage.ts'
import { silenceMillisecondsMax } from '../../src/storage/connection.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { objectBytesMax, parseObjectName } from '../../src/storage/object-store.ts'
import { connectStorage, grantReading } from '../../src/storage/remote.ts'
import { serveStorage } from '../../src/storage/sink.ts'
import {
  encodeRequest,
  encodeResponseHeader,
  heldBytesMax,
  requestHeaderLength,
  requestsMax,
  statuses,
} from '../../src/storage/wire.ts'
import { collect, never, someObject, whole } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { entropy, runHandler, serve, socketPair } from './support.ts'

const config = parseObjectName('config')
const unavailable = { code: 'STORAGE_UNAVAILABLE', retry: true }
const protocolBroken = { code: 'STORAGE_PROTOCOL', retry: false }

/** A gate that holds whatever comes to it until it is opened. */
function barrier() {
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  return { opened, open }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

describe('a storage connection', () => {
  test('answers out of order: a slow request holds up no other', async () => {
    const { opened, open } = barrier()
    const store = new MemoryStore()
    const [slow, quick] = [someObject('slow'), someObject('quick')]
    for (const { name, body } of [slow, quick]) await store.put(name, body, never)
    store.faults.before = async (_, subject) => (subject === slow.name ? opened : undefined)
    await using served = await serve(store)
    const first = whole(served.remote, slow.name)
    expect(await whole(served.remote, quick.name)).toEqual(quick.body)
    open()
    expect(await first).toEqual(slow.body)
  })

  test('has a bounded number of requests under way', async () => {
    const { opened, open } = barrier()
    let running = 0
    let runningMost = 0
    const store = new MemoryStore({
      faults: {
        before: async () => {
          running += 1
          runningMost = Math.max(runningMost, running)
          await opened
          running -= 1
        },
      },
    })
    await using served = await serve(store)
    const objects = Array.from({ length: 3 * requestsMax }, (_, index) => someObject(`bounded ${index}`, 50))
    const all = Promise.all(objects.map(({ name, body }) => served.remote.put(name, body, never)))
    await until(() => running === requestsMax)
    open()
    await all
    expect(runningMost).toBe(requestsMax)
    expect(store.objects.size).toBe(objects.length)
  })

  test('aborts one request and keeps the others', async () => {
    const { opened, open } = barrier()
    const store = new MemoryStore()
    const [stuck, fine] = [someObject('stuck'), someObject('fine')]
    store.faults.before = async (_, subject) => (subject === stuck.name ? opened : undefined)
    await using served = await serve(store)
    const abort = new AbortController()
    const attempt = served.remote.put(stuck.name, stuck.body, abort.signal)
    const other = served.remote.put(fine.name, fine.body, never)
    await until(() => store.calls.put === 2)
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(attempt).rejects.toBe(reason)
    await other
    open()
    expect(await served.remote.head(fine.name, never)).toEqual({ name: fine.name, bytes: 1000 })
    // The other end was told, and stopped before it stored anything.
    expect(store.objects.has(stuck.name)).toBe(false)
  })

  test('does not let an aborted config be changed while it is sent', async () => {
    const store = new MemoryStore()
    await using served = await serve(store)
    const abort = new AbortController()
    const body = new Uint8Array(500_000).fill(1)
    const attempt = served.remote.put(config, body, abort.signal)
    setImmediate(() => abort.abort(new Error('enough')))
    await attempt.catch(() => {})
    body.fill(2)
    await served.remote.head(config, never)
    const stored = store.objects.get(config)
    expect(stored === undefined || stored.every(byte => byte === 1)).toBe(true)
  })

  test('takes no answer for one before all has been sent, and can be left all the same', async () => {
    await using pair = await socketPair()
    const remote = connectStorage(pair.client)
    const { name } = someObject('unread')
    pair.server.once('data', (part: Buffer) => {
      pair.server.pause()
      const id = part.readUInt32BE(1)
      pair.server.write(encodeResponseHeader({ id, status: 'done', payloadLength: 0 }))
    })
    const abort = new AbortController()
    const put = remote.put(name, new Uint8Array(32 * 1024 * 1024), abort.signal).then(
      () => 'done',
      error => error,
    )
    // The answer has come and gone by now.
    await new Promise(resolve => setTimeout(resolve, 50))
    const reason = new Error('enough')
    abort.abort(reason)
    expect(await put).toBe(reason)
    await remote[Symbol.asyncDispose]()
    expect(pair.client.destroyed).toBe(true)
  })

  test('breaks when one request is answered twice', async () => {
    await using pair = await socketPair()
    const remote = connectStorage(pair.client)
    pair.server.once('data', (part: Buffer) => {
      pair.server.pause()
      const id = part.readUInt32BE(1)
      for (let twice = 0; twice < 2; twice++)
        pair.server.write(encodeResponseHeader({ id, status: 'done', payloadLength: 0 }))
    })
    const put = remote.put(someObject('unread').name, new Uint8Array(32 * 1024 * 1024), never)
    await expect(put).rejects.toMatchObject(protocolBroken)
  })

  test('closes at once with bytes that nobody takes', async () => {
    await using pair = await socketPair()
    const remote = connectStorage(pair.client)
    // Nothing is asked; what is left over is of a request that was cancelled.
    pair.client.write(new Uint8Array(32 * 1024 * 1024))
    await remote[Symbol.asyncDispose]()
    expect(pair.client.destroyed).toBe(true)
  })

  test('sends an object as large as all that it may hold, and one that is larger', async () => {
    const store = new MemoryStore()
    const sizes = [heldBytesMax, heldBytesMax + 1]
    const names = sizes.map(bytes => {
      const { name } = someObject(`large ${bytes}`)
      store.objects.set(name, new Uint8Array(bytes))
      return name
    })
    await using served = await serve(store)
    const got = await Promise.all(names.map(name => whole(served.remote, name)))
    expect(got.map(({ byteLength }) => byteLength)).toEqual(sizes)
  })

  test('fails everything pending when the stream breaks, and everything after', async () => {
    for (const end of ['client', 'server'] as const) {
      const store = new MemoryStore({ faults: { before: () => new Promise(() => {}) } })
      const { remote, ...ends } = await serve(store)
      const objects = Array.from({ length: requestsMax + 10 }, (_, index) => someObject(`lost ${index}`, 10))
      const pending = objects.map(({ name, body }) => remote.put(name, body, never))
      await until(() => store.calls.put === requestsMax)
      ends[end].destroy()
      for (const result of await Promise.allSettled(pending))
        expect(result).toMatchObject({ status: 'rejected', reason: unavailable })
      await expect(remote.head(config, never)).rejects.toMatchObject(unavailable)
      await remote[Symbol.asyncDispose]()
    }
  })

  test('does not wait for ever for a storage that is silent', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    const { opened, open } = barrier()
    try {
      let asked = 0
      const store = new MemoryStore()
      store.head = async () => {
        asked += 1
        if (asked > 1) await opened
        return null
      }
      await using served = await serve(store)
      expect(await served.remote.head(config, never)).toBeNull()
      const lost = served.remote.head(config, never)
      await until(() => asked === 2)
      // The first look sees the answer from before; the second sees none.
      vi.advanceTimersByTime(silenceMillisecondsMax)
      vi.advanceTimersByTime(silenceMillisecondsMax)
      await expect(lost).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE', retry: false })
      await expect(served.remote.head(config, never)).rejects.toMatchObject({ retry: false })
      open()
    } finally {
      vi.useRealTimers()
    }
  })

  test('is given up when it grants nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      await using pair = await socketPair()
      const granted = grantReading(pair.client)
      vi.advanceTimersByTime(60_000)
      await expect(granted).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
    } finally {
      vi.useRealTimers()
    }
  })

  test('aborts what runs for a client that has gone', async () => {
    const seen: AbortSignal[] = []
    const store = new MemoryStore()
    const put = store.put.bind(store)
    store.put = (name, body, signal) => {
      seen.push(signal)
      return Promise.race([
        put(name, body, never),
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      ])
    }
    store.faults.before = () => new Promise(() => {})
    const { remote, served, client } = await serve(store)
    const { name, body } = someObject('orphan')
    const attempt = remote.put(name, body, never)
    await until(() => seen.length === 1)
    client.destroy()
    await expect(attempt).rejects.toMatchObject(unavailable)
    await served
    expect(seen[0]?.aborted).toBe(true)
  })

  test('carries errors by code, and nothing of those that it does not know', async () => {
    const store = new MemoryStore()
    await using served = await serve(store)
    store.faults.before = () => {
      throw new StorageError('STORAGE_FULL', 'no \u001b[31mroom', { retry: true })
    }
    await expect(served.remote.head(config, never)).rejects.toMatchObject({
      code: 'STORAGE_FULL',
      message: 'no ?[31mroom',
      retry: true,
    })
    store.faults.before = () => {
      throw new Error('/home/user/secret/path')
    }
    const error = await served.remote.head(config, never).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'STORAGE_IO', retry: false })
    expect(String(error)).not.toContain('secret')
  })

  test('ends politely when it is disposed of', async () => {
    const store = new MemoryStore()
    const { remote, served } = await serve(store)
    await remote.put(config, new Uint8Array([1]), never)
    await remote[Symbol.asyncDispose]()
    await served
    await expect(remote.head(config, never)).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
  })
})

describe('a storage that lies', () => {
  /** A client whose storage answers each request with what `answer` makes of its id. */
  async function against(answer: (id: number) => readonly Uint8Array[]) {
    const pair = await socketPair()
    pair.server.on('error', () => {})
    pair.server.on('data', (request: Buffer) => {
      for (const part of answer(request.readUInt32BE(1))) pair.server.write(part)
    })
    const remote = connectStorage(pair.client)
    return {
      remote,
      async [Symbol.asyncDispose]() {
        await remote[Symbol.asyncDispose]()
        await pair[Symbol.asyncDispose]()
      },
    }
  }
  const frame = (id: number, status: keyof typeof statuses, payload: Uint8Array = new Uint8Array(0)) => [
    encodeResponseHeader({ id, status, payloadLength: payload.byteLength }),
    payload,
  ]
  const { name } = someObject('any')

  test('gets through with nothing but an honest frame', async () => {
    await using honest = await against(id => frame(id, 'body', new Uint8Array([7, 8])))
    expect(await whole(honest.remote, name)).toEqual(new Uint8Array([7, 8]))
    const faults: readonly ((id: number) => readonly Uint8Array[])[] = [
      id => frame(id + 1, 'body'),
      id => frame(id, 'size', new Uint8Array(8)),
      id => frame(id, 'done'),
      id => frame(id, 'body', new Uint8Array(5000)),
      id => frame(id, 'body', new Uint8Array(9)),
      id => frame(id, 'error', Buffer.from('{"code":"OTHER_CODE","message":"","retry":false}')),
      id => frame(id, 'error', Buffer.from('{"code":"toString","message":"","retry":false}')),
      id => frame(id, 'error', Buffer.from('not JSON')),
      id => [encodeResponseHeader({ id, status: 'body', payloadLength: objectBytesMax + 1 })],
      id => [encodeResponseHeader({ id, status: 'error', payloadLength: 4097 })],
      id => [encodeResponseHeader({ id, status: 'done', payloadLength: 1 })],
      () => [new Uint8Array(9).fill(255)],
    ]
    for (const fault of faults) {
      await using lying = await against(fault)
      const attempt = lying.remote.get(name, { offset: 0, length: 10 }, never)
      await expect(attempt).rejects.toMatchObject(protocolBroken)
    }
  })

  test('cannot slip other names into a list', async () => {
    const item = (text: string) => Buffer.concat([Buffer.of(text.length), Buffer.from(text), Buffer.alloc(8)])
    for (const text of ['keys/../config', `keys/${'a'.repeat(64)}`, 'config', 'data/xyz', '']) {
      await using lying = await against(id => frame(id, 'lastItems', item(text)))
      await expect(collect(lying.remote, 'data')).rejects.toMatchObject(protocolBroken)
    }
    await using cut = await against(id => frame(id, 'lastItems', item(name).subarray(0, 20)))
    await expect(collect(cut.remote, 'data')).rejects.toMatchObject(protocolBroken)
    await using honest = await against(id => frame(id, 'lastItems', item(name)))
    expect(await collect(honest.remote, 'data')).toEqual([{ name, bytes: 0 }])
  })

  test('causes typed errors only, whatever it sends', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), fc.boolean(), async (noise, framed) => {
        await using lying = await against(id =>
          framed ? frame(id, 'lastItems', noise) : [noise, new Uint8Array(9).fill(255)],
        )
        const outcome = await collect(lying.remote, 'data').catch((error: unknown) => error)
        expect(Array.isArray(outcome) || outcome instanceof CodedError).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  test('grants only what looks like a capability', async () => {
    for (const line of ['', 'no capability\n', `${'A'.repeat(32)}\n`, 'a'.repeat(100)]) {
      await using pair = await socketPair()
      pair.server.end(line)
      await expect(grantReading(pair.client)).rejects.toBeInstanceOf(StorageError)
    }
  })
})

describe('a client that misbehaves', () => {
  async function send(parts: readonly Uint8Array[], answersCount = 0) {
    const store = new MemoryStore()
    const pair = await socketPair()
    const handlers = serveStorage({ repositories: () => store, log: silentLog, entropy })
    const call = { service: 'strongroom.Storage', argument: 'work-1', source: 'dom0', stream: pair.server }
    const received: Buffer[] = []
    pair.client.on('error', () => {})
    pair.client.on('data', (part: Buffer) => received.push(part))
    for (const part of parts) pair.client.write(part)
    const served = runHandler(handlers['strongroom.Storage'], call)
    await until(() => received.length >= answersCount || pair.server.destroyed)
    pair.client.end()
    await served
    await until(() => pair.client.readableEnded || pair.client.destroyed)
    await pair[Symbol.asyncDispose]()
    return { store, answer: Buffer.concat(received) }
  }

  test('is heard when honest, and cut off otherwise, before anything of a wrong length is read', async () => {
    const { name, body } = someObject('raw', 10)
    const honest = await send([encodeRequest('put', 5, name, 10), body], 1)
    expect(honest.answer).toEqual(Buffer.from([0, 0, 0, 5, statuses.done, 0, 0, 0, 0]))
    expect(honest.store.objects.size).toBe(1)
    const put = encodeRequest('put', 5, name, 10)
    const changed = (at: number, value: number) => put.map((byte, index) => (index === at ? value : byte))
    for (const parts of [
      [changed(0, 0), body],
      [changed(0, 8), body],
      [changed(5, 81), body],
      [changed(6, 255)],
      [encodeRequest('put', 5, name, objectBytesMax + 1)],
      [encodeRequest('get', 5, name, 13), body],
      [put, body.subarray(0, 9)],
      [put.subarray(0, requestHeaderLength - 1)],
    ]) {
      const { store, answer } = await send(parts)
      expect(answer.byteLength).toBe(0)
      expect(store.calls).toEqual({ put: 0, get: 0, head: 0, list: 0, remove: 0 })
    }
  })

  test('cannot name anything that is no object', async () => {
    for (const name of [
      '../config',
      'data/..',
      '/etc/passwd',
      'data',
      '',
      'config\0',
      `data/${'A'.repeat(64)}`,
    ]) {
      const { store, answer } = await send([encodeRequest('put', 5, name, 1), new Uint8Array(1)], 1)
      expect(answer.readUInt8(4)).toBe(statuses.error)
      expect(answer.toString()).toContain('STORAGE_PROTOCOL')
      expect(store.calls.put).toBe(0)
    }
  })

  test('is told of lists that do not exist, and may cancel what is not there', async () => {
    const { answer } = await send([encodeRequest('cancel', 9, '', 0), encodeRequest('more', 9, '', 0)], 1)
    expect(answer.readUInt32BE(0)).toBe(9)
    expect(answer.readUInt8(4)).toBe(statuses.error)
  })

  test('does no harm with noise', async () => {
    const { name } = someObject('seed', 10)
    const honest = Buffer.concat([
      encodeRequest('list', 1, 'data', 0),
      encodeRequest('head', 2, name, 0),
      encodeRequest('get', 3, name, 12),
      Buffer.alloc(12),
    ])
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(honest.byteLength - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        async changes => {
          const mutated = Buffer.from(honest)
          for (const [at, value] of changes) mutated[at] = value
          const { store } = await send([mutated])
          expect(store.objects.size).toBe(0)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('a capability', () => {
  function storageVm() {
    const stores = new Map<string, MemoryStore>()
    const repositories = (name: string) => {
      const store = stores.get(name) ?? new MemoryStore()
      stores.set(name, store)
      return store
    }
    const handlers = serveStorage({ repositories, log: silentLog, entropy })
    const open = async (service: string, argument: string, source: string) => {
      const pair = await socketPair()
      const served = runHandler(handlers[service], { service, argument, source, stream: pair.server })
      return { stream: pair.client as Duplex, served: served.then(() => pair.server.destroy()) }
    }
    return { repositories, open }
  }

  test('reads its repository and no other, as long as its grant lives', async () => {
    const { repositories, open } = storageVm()
    const { name, body } = someObject('granted')
    await repositories('work-1').put(name, body, never)
    const grant = await grantReading((await open(storageGrant.service, 'work-1', 'dom0')).stream)
    expect(grant.capability).toMatch(/^[0-9a-f]{32}$/)

    const { stream, served } = await open(storageRead.service, grant.capability, 'disp1234')
    const sandbox = connectStorage(stream)
    expect(await whole(sandbox, name)).toEqual(body)
    expect(await sandbox.head(name, never)).toEqual({ name, bytes: 1000 })
    expect(await collect(sandbox, 'data')).toHaveLength(1)

    await grant[Symbol.asyncDispose]()
    await served
    await expect(sandbox.head(name, never)).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
    const late = connectStorage((await open(storageRead.service, grant.capability, 'disp1234')).stream)
    await expect(late.head(name, never)).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
  })

  test('does not write, not even a lock', async () => {
    const { repositories, open } = storageVm()
    await using grant = await grantReading((await open(storageGrant.service, 'work-1', 'dom0')).stream)
    const lock = someObject('lock', 10, 'locks')
    await repositories('work-1').put(lock.name, lock.body, never)
    for (const attempt of ['put', 'remove'] as const) {
      const { stream } = await open(storageRead.service, grant.capability, 'disp1234')
      await using sandbox = connectStorage(stream)
      const done =
        attempt === 'put'
          ? sandbox.put(lock.name, lock.body, never)
          : sandbox.remove(lock.name, { name: lock.name, entry: 1 }, never)
      await expect(done).rejects.toMatchObject({ code: 'STORAGE_APPEND_ONLY' })
    }
    expect(repositories('work-1').calls).toMatchObject({ put: 1, remove: 0 })
  })

  test('is different each time, and cannot be guessed, or had by any but dom0', async () => {
    const { open } = storageVm()
    await using first = await grantReading((await open(storageGrant.service, 'work-1', 'dom0')).stream)
    await using second = await grantReading((await open(storageGrant.service, 'work-1', 'dom0')).stream)
    expect(first.capability).not.toBe(second.capability)
    for (const [service, argument, source] of [
      [storageRead.service, '0'.repeat(32), 'disp1234'],
      [storageRead.service, '', 'disp1234'],
      [storageRead.service, first.capability.slice(0, 31), 'disp1234'],
      [storageObjects.service, 'work-1', 'mgmt'],
      [storageObjects.service, '../work-1', 'dom0'],
    ] as const) {
      await using remote = connectStorage((await open(service, argument, source)).stream)
      await expect(remote.head(config, never)).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
    }
    await expect(
      grantReading((await open(storageGrant.service, 'work-1', 'mgmt')).stream),
    ).rejects.toMatchObject({
      code: 'STORAGE_UNAVAILABLE',
    })
  })
})
