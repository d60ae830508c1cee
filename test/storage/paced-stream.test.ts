import { describe, expect, test, vi } from 'vitest'
import { silenceMillisecondsMax } from '../../src/storage/connection.ts'
import { UploadBudget } from '../../src/storage/upload-budget.ts'
import { never, someObject, whole } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { SleepingClock, serve } from './support.ts'

const KiB = 1024
const MiB = 1024 * KiB

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

function shareOf(clock: SleepingClock | SteppedClock, bytesPerSecond: number) {
  const share = new UploadBudget(clock, null).share()
  share.limit(bytesPerSecond)
  return share
}

describe('an object that is sent below a rate', () => {
  test('is sent piece by piece, and arrives as it is', async () => {
    const clock = new SleepingClock()
    const before = clock.monotonic()
    const store = new MemoryStore()
    await using served = await serve(store, shareOf(clock, 256 * KiB))
    const { name, body } = someObject('paced', 4 * MiB)
    await served.remote.put(name, body, never)
    // All but the last piece are waited for: at no time is more than a quarter of a second's worth sent at once.
    expect(clock.monotonic() - before).toBeCloseTo(16_000 - 250, -3)
    expect(Math.max(...clock.sleeps)).toBeLessThanOrEqual(251)
    expect(await whole(served.remote, name)).toEqual(body)
  })

  test('is given up at once when its connection is', async () => {
    const clock = new SteppedClock()
    const store = new MemoryStore()
    await using served = await serve(store, shareOf(clock, 16 * KiB))
    const { name, body } = someObject('given up', MiB)
    const put = served.remote.put(name, body, never)
    put.catch(() => {})
    await until(() => clock.sleeping === 1)
    await served.remote[Symbol.asyncDispose]()
    await expect(put).rejects.toMatchObject({ code: 'STORAGE_UNAVAILABLE' })
    expect(clock.sleeping).toBe(0)
    expect(store.objects.size).toBe(0)
  })

  test('is no silent storage, however long it takes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      const clock = new SteppedClock()
      const store = new MemoryStore()
      await using served = await serve(store, shareOf(clock, 16 * KiB))
      const { name, body } = someObject('slow', 512 * KiB)
      const put = served.remote.put(name, body, never)
      for (let second = 0; second < 32; second += 4) {
        await until(() => clock.sleeping === 1 || store.objects.size === 1)
        await clock.pass(4100)
        await until(() => clock.sleeping === 1 || store.objects.size === 1)
        vi.advanceTimersByTime(silenceMillisecondsMax)
      }
      await put
      expect(store.objects.size).toBe(1)
    } finally {
      vi.useRealTimers()
    }
  })
})
