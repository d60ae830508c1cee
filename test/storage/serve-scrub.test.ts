import { describe, expect, test, vi } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { type Clock, systemClock } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import { storageScrub } from '../../src/qrexec/calls/storage.ts'
import { silenceMillisecondsMax } from '../../src/storage/connection.ts'
import { StorageError } from '../../src/storage/errors.ts'
import type { ObjectName } from '../../src/storage/object-store.ts'
import type { ScrubProgress } from '../../src/storage/scrub-lines.ts'
import type { ScrubMemory, ScrubState } from '../../src/storage/scrub-memory.ts'
import { scrubOver } from '../../src/storage/scrub-remote.ts'
import { serveScrub } from '../../src/storage/serve-scrub.ts'
import { never, someObject } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { runHandler, socketPair } from './support.ts'

async function filled(count: number): Promise<MemoryStore> {
  const store = new MemoryStore()
  for (let index = 0; index < count; index++) {
    const { name, body } = someObject(`object ${index}`, 100)
    await store.put(name, body, never)
  }
  return store
}

/** A storage VM that serves scrubs of one repository, and remembers where they were. */
function storageVm(store: MemoryStore) {
  const kept: { state: ScrubState | null } = { state: null }
  const memory: ScrubMemory = {
    load: async () => kept.state,
    save: async state => {
      kept.state = state
    },
    clear: async () => {
      kept.state = null
    },
  }
  const handlers = serveScrub({
    repositories: () => store,
    memory: () => memory,
    bytesPerSecondMax: null,
    clock: systemClock,
    log: silentLog,
  })
  const call = async (source = 'dom0', argument = 'nightly.e1', signal = never) => {
    const pair = await socketPair()
    const { service } = storageScrub
    const served = runHandler(handlers[service], { service, argument, source, stream: pair.server })
    signal.addEventListener('abort', () => pair.client.destroy())
    const seen: ScrubProgress[] = []
    const report = scrubOver(
      async () => pair.client,
      systemClock,
      progress => seen.push(progress),
      signal,
    )
    report.catch(() => {})
    const left = new Promise(resolve => pair.server.once('end', resolve).once('close', resolve))
    return { report, served: served.finally(() => pair.server.end()), seen, left }
  }
  return { call, kept }
}

const damagedOf = (store: MemoryStore) => [...store.objects.keys()].sort()[2] as ObjectName

describe('a scrub over the wire', () => {
  test('tells progress, and the report as it is', async () => {
    const store = await filled(9)
    store.damage(damagedOf(store))
    const { report, seen } = await storageVm(store).call()
    expect(await report).toEqual({
      objects: 9,
      bytes: 900,
      damaged: 1,
      findings: [{ name: damagedOf(store), fault: 'content' }],
    })
    expect(seen.length).toBeGreaterThan(0)
    expect(store.calls.remove).toBe(0)
  })

  test('with as much damage as may be named fits its line', async () => {
    const store = await filled(140)
    for (const name of store.objects.keys()) store.damage(name)
    const { report } = await storageVm(store).call()
    expect(await report).toMatchObject({ damaged: 140 })
    expect((await report).findings).toHaveLength(100)
  })

  test('is for dom0 only, and for what is the name of a repository', async () => {
    const store = await filled(1)
    for (const [source, argument] of [
      ['mgmt', 'nightly.e1'],
      ['disp1', 'nightly.e1'],
      ['dom0', '../nightly.e1'],
      ['dom0', ''],
    ] as const) {
      const { report } = await storageVm(store).call(source, argument)
      await expect(report).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
    }
    expect(store.calls).toMatchObject({ list: 0, get: 0 })
  })

  test('ends with its caller, and the next one goes on from there', async () => {
    const store = await filled(8)
    const stop = new AbortController()
    let heads = 0
    const reached = Promise.withResolvers<void>()
    const noticed = Promise.withResolvers<void>()
    store.faults.before = async operation => {
      if (operation !== 'head' || ++heads !== 5) return
      reached.resolve()
      await noticed.promise
    }
    const { call, kept } = storageVm(store)
    const first = await call('dom0', 'nightly.e1', stop.signal)
    await reached.promise
    stop.abort(new Error('cancelled'))
    await first.left
    noticed.resolve()
    await expect(first.report).rejects.toThrow('cancelled')
    await first.served
    expect(kept.state?.objects).toBe(4)
    const second = await call()
    expect(await second.report).toMatchObject({ objects: 8, damaged: 0 })
    expect(heads).toBe(5 + 4)
  })

  test('runs once at a time for a repository', async () => {
    const store = await filled(3)
    const open = Promise.withResolvers<void>()
    store.faults.before = operation => (operation === 'head' ? open.promise : undefined)
    const { call } = storageVm(store)
    const first = await call()
    while (store.calls.head === 0) await new Promise(resolve => setTimeout(resolve, 2))
    const second = await call()
    await expect(second.report).rejects.toMatchObject({ code: 'STORAGE_BUSY', retry: true })
    open.resolve()
    expect(await first.report).toMatchObject({ objects: 3 })
    expect(await (await call()).report).toMatchObject({ objects: 3 })
  })

  test('carries what goes wrong by its code, and nothing of what it does not know', async () => {
    const store = await filled(3)
    store.faults.before = () => {
      throw new StorageError('STORAGE_IO', 'no \u001b[31mdisk', { retry: true })
    }
    const { call } = storageVm(store)
    await expect((await call()).report).rejects.toMatchObject({
      code: 'STORAGE_IO',
      message: 'no ?[31mdisk',
      retry: true,
    })
    store.faults.before = () => {
      throw new Error('/home/user/secret/path')
    }
    const error = await (await call()).report.catch((failure: unknown) => failure)
    expect(error).toMatchObject({ code: 'STORAGE_IO' })
    expect(String(error)).not.toContain('secret')
  })
})

describe('a storage that lies', () => {
  async function heard(...lines: readonly (string | object)[]) {
    await using pair = await socketPair()
    pair.server.on('error', () => {})
    for (const line of lines)
      pair.server.write(utf8(typeof line === 'string' ? line : `${JSON.stringify(line)}\n`))
    pair.server.end()
    return await scrubOver(
      async () => pair.client,
      systemClock,
      () => {},
      never,
    ).catch((error: unknown) => error)
  }
  const finding = { name: someObject('x').name, fault: 'content' }
  const report = (more: object = {}) => ({
    report: { objects: 1, bytes: 1, damaged: 0, findings: [], ...more },
  })

  test('gets through with nothing but an honest line', async () => {
    expect(await heard(report())).toMatchObject({ objects: 1 })
    for (const lines of [
      [{}],
      [{ report: {} }],
      [report({ objects: -1 })],
      [report({ damaged: 1 })],
      [report({ findings: [finding] })],
      [report({ damaged: 2, findings: [finding] })],
      [report({ damaged: 1, findings: [{ ...finding, name: '../../etc/passwd' }] })],
      [report({ damaged: 1, findings: [{ ...finding, name: `${finding.name}\u001b[2J` }] })],
      [report({ damaged: 1, findings: [{ ...finding, fault: 'fine' }] })],
      [report({ damaged: 101, findings: Array.from({ length: 101 }, () => finding) })],
      [{ progress: { objectsDone: 1 } }],
      [{ error: { code: 'ALL_FINE', message: '', retry: false } }],
      [{ ...report(), extra: 1 }],
      ['not JSON\n'],
    ])
      expect(await heard(...lines), JSON.stringify(lines)).toMatchObject({
        code: 'STORAGE_PROTOCOL',
        retry: false,
      })
  })

  test('is not read beyond a line’s length', async () => {
    expect(await heard(' '.repeat(40_000))).toMatchObject({ code: 'STORAGE_PROTOCOL', retry: false })
  })

  test('that ends without a report is asked again by whoever wants to', async () => {
    for (const lines of [
      [],
      [{ progress: { objectsDone: 0, objectsTotal: 1, bytesDone: 0, bytesTotal: 1 } }],
    ])
      expect(await heard(...lines)).toMatchObject({ code: 'STORAGE_UNAVAILABLE', retry: true })
  })

  test('that never stops talking is read slowly, and ended by an abort', async () => {
    await using pair = await socketPair()
    pair.server.on('error', () => {})
    const progress = { objectsDone: 1, objectsTotal: 2, bytesDone: 1, bytesTotal: 2 }
    const lines = utf8(`${JSON.stringify({ progress })}\n`.repeat(100_000))
    const stop = new AbortController()
    stop.signal.addEventListener('abort', () => pair.client.destroy())
    const asleep = Promise.withResolvers<void>()
    const sleeping: Clock = {
      ...systemClock,
      sleep: (_, signal) => {
        asleep.resolve()
        return new Promise((_resolve, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason)),
        )
      },
    }
    let told = 0
    const over = scrubOver(
      async () => pair.client,
      sleeping,
      () => void told++,
      stop.signal,
    )
    pair.server.write(lines)
    await asleep.promise
    for (let turn = 0; turn < 100; turn++) await new Promise(resolve => setImmediate(resolve))
    // Most of it has not even left the storage.
    expect([told, pair.server.writableLength > 0]).toEqual([1, true])
    stop.abort(new Error('cancelled'))
    await expect(over).rejects.toThrow('cancelled')
  })

  test('that cannot be reached is not waited for, nor given up at once', async () => {
    const refused = async () => Promise.reject(new Error('nobody listens'))
    const error = { code: 'STORAGE_UNAVAILABLE', retry: true }
    await expect(scrubOver(refused, systemClock, () => {}, never)).rejects.toMatchObject(error)
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      const hangs = (signal: AbortSignal) =>
        new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      const over = scrubOver(hangs, systemClock, () => {}, never)
      await expectGivenUp(over)
    } finally {
      vi.useRealTimers()
    }
  })

  test('that is reached after it was given up is left again', async () => {
    await using pair = await socketPair()
    const opened = Promise.withResolvers<typeof pair.client>()
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      const over = scrubOver(
        () => opened.promise,
        systemClock,
        () => {},
        never,
      )
      vi.advanceTimersByTime(silenceMillisecondsMax)
      opened.resolve(pair.client)
      await expect(over).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE', retry: false })
      expect(pair.client.destroyed).toBe(true)
    } finally {
      vi.useRealTimers()
    }
  })

  test('that says nothing is not waited for', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      await using pair = await socketPair()
      const over = scrubOver(
        async () => pair.client,
        systemClock,
        () => {},
        never,
      )
      await expectGivenUp(over)
    } finally {
      vi.useRealTimers()
    }
  })
})

/** After a silence that is played as soon as it is waited for. */
async function expectGivenUp(over: Promise<unknown>): Promise<void> {
  over.catch(() => {})
  while (vi.getTimerCount() === 0) await new Promise(resolve => setImmediate(resolve))
  await vi.advanceTimersByTimeAsync(silenceMillisecondsMax)
  await expect(over).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE', retry: false })
}
