import { describe, expect, test, vi } from 'vitest'
import { StorageError } from '../../src/storage/errors.ts'
import { Gate } from '../../src/storage/gate.ts'
import { parseObjectName } from '../../src/storage/object-store.ts'
import { withQuota } from '../../src/storage/quota.ts'
import { connectMillisecondsMax, reconnecting } from '../../src/storage/reconnect.ts'
import { withRetry } from '../../src/storage/retry.ts'
import { collect, never, someObject, whole } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { type ServedStore, SleepingClock, serve } from './support.ts'

const config = parseObjectName('config')
const lost = () => new StorageError('STORAGE_UNAVAILABLE', 'lost', { retry: true })

describe('withRetry', () => {
  test('tries again what may be tried again, with growing pauses', async () => {
    const clock = new SleepingClock()
    let failures = 3
    const store = withRetry(
      new MemoryStore({
        faults: {
          before: () => {
            if (failures-- > 0) throw lost()
          },
        },
      }),
      clock,
      5,
    )
    await store.put(config, new Uint8Array([1]), never)
    expect(clock.sleeps).toEqual([200, 400, 800])
  })

  test('gives up after so many attempts, and at once when it would not help', async () => {
    for (const [retry, attempts] of [
      [true, 4],
      [false, 1],
    ] as const) {
      const memory = new MemoryStore()
      memory.faults.before = () => {
        throw new StorageError('STORAGE_IO', 'broken', { retry })
      }
      const store = withRetry(memory, new SleepingClock(), 4)
      await expect(store.head(config, never)).rejects.toMatchObject({ code: 'STORAGE_IO' })
      expect(memory.calls.head).toBe(attempts)
    }
  })

  test('stores an object whose answer was lost, once', async () => {
    let answers = 0
    const memory = new MemoryStore({
      faults: {
        afterPut: () => {
          if (answers++ === 0) throw lost()
        },
      },
    })
    const { name, body } = someObject('answer lost')
    await withRetry(memory, new SleepingClock(), 2).put(name, body, never)
    expect(memory.journal).toEqual([name])
  })

  test('begins a list again only while nothing of it was given out', async () => {
    const memory = new MemoryStore()
    const { name, body } = someObject('listed')
    await memory.put(name, body, never)
    const store = withRetry(memory, new SleepingClock(), 3)
    let failures = 2
    memory.faults.before = () => {
      if (failures-- > 0) throw lost()
    }
    expect(await collect(store, 'data')).toHaveLength(1)

    const breaking = withRetry(
      Object.assign(new MemoryStore(), {
        async *list() {
          yield { name, bytes: 1 }
          throw lost()
        },
      }),
      new SleepingClock(),
      3,
    )
    await expect(collect(breaking, 'data')).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
  })

  test('stops waiting when it is aborted', async () => {
    const abort = new AbortController()
    const reason = new Error('enough')
    const memory = new MemoryStore()
    memory.faults.before = () => {
      abort.abort(reason)
      throw lost()
    }
    await expect(withRetry(memory, new SleepingClock(), 9).head(config, abort.signal)).rejects.toBe(reason)
    expect(memory.calls.head).toBe(1)
  })
})

describe('withQuota', () => {
  test('counts what is there, takes what fits, refuses the rest', async () => {
    const memory = new MemoryStore({ appendOnly: false })
    const [old, fits, over] = [someObject('old', 400), someObject('fits', 600), someObject('over', 1)]
    await memory.put(old.name, old.body, never)
    const store = withQuota(memory, 1000)
    await store.put(fits.name, fits.body, never)
    await expect(store.put(over.name, over.body, never)).rejects.toMatchObject({
      code: 'STORAGE_QUOTA',
      kind: 'full',
    })
    // What is there already costs nothing more; what is removed makes room.
    await store.put(fits.name, fits.body, never)
    await store.remove(old.name, { name: old.name, entry: 1 }, never)
    await store.remove(old.name, { name: old.name, entry: 1 }, never)
    await store.put(over.name, over.body, never)
    expect(memory.bytesStored).toBe(601)
  })

  test('is not passed by many writers at once, nor used up by failures', async () => {
    const memory = new MemoryStore()
    const store = withQuota(memory, 1000)
    const objects = Array.from({ length: 9 }, (_, index) => someObject(`writer ${index}`, 300))
    const results = await Promise.allSettled(
      objects.flatMap(({ name, body }) => [store.put(name, body, never), store.put(name, body, never)]),
    )
    expect(memory.objects.size).toBe(3)
    expect(results.filter(result => result.status === 'fulfilled')).toHaveLength(6)

    const failing = new MemoryStore({
      faults: {
        before: operation => {
          if (operation === 'put' && failing.calls.put <= 5) throw lost()
        },
      },
    })
    const { name, body } = someObject('at last', 900)
    const guarded = withRetry(withQuota(failing, 1000), new SleepingClock(), 9)
    await guarded.put(name, body, never)
    expect(failing.bytesStored).toBe(900)
  })

  test('counts an object that was stored although its put failed', async () => {
    let answers = 0
    const memory = new MemoryStore({
      faults: {
        afterPut: () => {
          if (answers++ === 0) throw lost()
        },
      },
    })
    const store = withQuota(memory, 1000)
    const [first, second] = [someObject('counted', 600), someObject('too many', 600)]
    await expect(store.put(first.name, first.body, never)).rejects.toMatchObject({ retry: true })
    await expect(store.put(second.name, second.body, never)).rejects.toMatchObject({ code: 'STORAGE_QUOTA' })
    await store.put(first.name, first.body, never)
  })

  test('counts again after counting failed', async () => {
    const memory = new MemoryStore()
    let failures = 1
    memory.faults.before = operation => {
      if (operation === 'list' && failures-- > 0) throw lost()
    }
    const store = withQuota(memory, 10)
    await expect(store.put(config, new Uint8Array(5), never)).rejects.toMatchObject({ retry: true })
    await store.put(config, new Uint8Array(5), never)
  })
})

describe('reconnecting', () => {
  test('with retries, outlives a connection that breaks', async () => {
    const memory = new MemoryStore()
    const connections: ServedStore[] = []
    const remote = reconnecting(async () => {
      const served = await serve(memory)
      connections.push(served)
      return served.remote
    }, never)
    const store = withRetry(remote, new SleepingClock(), 3)
    const objects = Array.from({ length: 20 }, (_, index) => someObject(`outlives ${index}`))
    for (const [index, { name, body }] of objects.entries()) {
      const pending = store.put(name, body, never)
      if (index % 5 === 2) connections.at(-1)?.server.destroy()
      await pending
    }
    for (const { name, body } of objects) expect(await whole(store, name)).toEqual(body)
    expect(connections.length).toBeGreaterThan(1)
    await remote[Symbol.asyncDispose]()
    await expect(remote.head(config, never)).rejects.toMatchObject({
      code: 'STORAGE_UNAVAILABLE',
      retry: false,
    })
  })

  test('waits for a storage VM that is not up yet', async () => {
    const memory = new MemoryStore()
    let attempts = 0
    const remote = reconnecting(async () => {
      if (attempts++ < 2) throw new StorageError('STORAGE_UNAVAILABLE', 'not up yet')
      return (await serve(memory)).remote
    }, never)
    expect(await withRetry(remote, new SleepingClock(), 3).head(config, never)).toBeNull()
    await remote[Symbol.asyncDispose]()
  })
})

describe('connecting', () => {
  test('ends with the signal, also where the way there does not look at it', async () => {
    const job = new AbortController()
    const remote = reconnecting(() => new Promise(() => {}), job.signal)
    const waiting = withRetry(remote, new SleepingClock(), 9).head(config, never)
    setImmediate(() => job.abort(new Error('cancelled')))
    await expect(waiting).rejects.toThrow('cancelled')
    await expect(remote.head(config, never)).rejects.toThrow('cancelled')
  })

  test('to a storage VM that is silent is given up, and tried again', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const reasons: unknown[] = []
      const connect = (signal: AbortSignal) =>
        new Promise<never>(() => signal.addEventListener('abort', () => reasons.push(signal.reason)))
      const waiting = withRetry(reconnecting(connect, never), new SleepingClock(), 2).head(config, never)
      const ended = expect(waiting).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
      for (let attempt = 0; attempt < 2; attempt++) await vi.advanceTimersByTimeAsync(connectMillisecondsMax)
      await ended
      expect(reasons).toHaveLength(2)
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('Gate', () => {
  test('admits in order, within both bounds; what is too large passes alone', async () => {
    const gate = new Gate(2, 100)
    const order: string[] = []
    const enter = async (label: string, bytes: number) => {
      const leave = await gate.enter(bytes, never)
      order.push(label)
      return leave
    }
    const first = await enter('first', 60)
    const second = enter('second', 60)
    const third = enter('third', 10)
    const huge = enter('huge', 5000)
    await Promise.resolve()
    expect(order).toEqual(['first'])
    first()
    first()
    const leaveSecond = await second
    const leaveThird = await third
    expect(order).toEqual(['first', 'second', 'third'])
    leaveSecond()
    leaveThird()
    ;(await huge)()
    expect(order).toEqual(['first', 'second', 'third', 'huge'])
  })

  test('lets go of those who give up', async () => {
    const gate = new Gate(1, 100)
    const leave = await gate.enter(1, never)
    const abort = new AbortController()
    const impatient = gate.enter(1, abort.signal)
    const patient = gate.enter(1, never)
    const reason = new Error('enough')
    abort.abort(reason)
    await expect(impatient).rejects.toBe(reason)
    leave()
    ;(await patient)()
  })
})
