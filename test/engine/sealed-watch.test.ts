import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Log } from '../../src/base/log.ts'
import { SealedWatch } from '../../src/engine/sealed-watch.ts'
import { SealError } from '../../src/sealing/errors.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

let clock: SteppedClock
let wrong: Error | null
let looks: number
let moved: () => void
let isWatched: boolean
let said: string[]
let watch: SealedWatch
let stop: AbortController

beforeEach(() => {
  clock = new SteppedClock()
  wrong = null
  looks = 0
  isWatched = false
  said = []
  stop = new AbortController()
  const say = (text: string) => said.push(text)
  const log: Log = { info: say, warn: say, error: say }
  watch = new SealedWatch({
    recheck: async () => {
      looks += 1
      if (wrong !== null) throw wrong
    },
    watch: told => {
      moved = told
      isWatched = true
      return {
        [Symbol.dispose]() {
          isWatched = false
        },
      }
    },
    clock,
    log,
  })
})
afterEach(() => stop.abort())

const changed = new SealError('SEAL_SIGNATURE_INVALID', 'profiles.json was changed')

describe('a look', () => {
  test('at a store that verifies says nothing', async () => {
    await watch.look()
    expect(watch.alarm).toBeNull()
    expect(said).toEqual([])
  })

  test('at one that does not throws what is wrong, and says so once', async () => {
    wrong = changed
    for (const _ of [1, 2]) await expect(watch.look()).rejects.toBe(changed)
    expect(said).toEqual(['the sealed store does not verify: nothing is ordered'])
    expect(watch.alarm).toEqual({
      code: 'SEAL_SIGNATURE_INVALID',
      message: 'the sealed store did not verify: profiles.json was changed',
      time: clock.now(),
    })
  })

  test('at one that was put right passes, and the first alarm stays', async () => {
    wrong = changed
    await expect(watch.look()).rejects.toBe(changed)
    const { alarm } = watch
    wrong = null
    await watch.look()
    expect(said.at(-1)).toBe('the sealed store verifies again')
    await clock.pass(1000)
    wrong = new SealError('SEAL_CHANGED', 'again')
    await expect(watch.look()).rejects.toThrow('again')
    expect(watch.alarm).toEqual(alarm)
    expect(said).toHaveLength(3)
  })

  test('tells no more of an unknown error than may leave this VM', async () => {
    wrong = new Error('/secret/path')
    await expect(watch.look()).rejects.toBe(wrong)
    expect(JSON.stringify(watch.alarm)).not.toContain('secret')
  })
})

describe('the watch', () => {
  test('looks when something moves, without waiting', async () => {
    void watch.run(stop.signal)
    await clock.pass(0)
    expect(looks).toBe(1)
    wrong = changed
    moved()
    await clock.pass(0)
    expect(looks).toBe(2)
    expect(watch.alarm).toMatchObject({ code: 'SEAL_SIGNATURE_INVALID' })
  })

  test('looks once a minute when nothing is told', async () => {
    void watch.run(stop.signal)
    await clock.pass(59_000)
    expect(looks).toBe(1)
    wrong = changed
    await clock.pass(2_000)
    expect(looks).toBe(2)
    expect(watch.alarm).not.toBeNull()
    wrong = null
    await clock.pass(120_000)
    expect(looks).toBe(4)
  })

  test('looks once more at what moved while it looked', async () => {
    const begun = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    const slow = new SealedWatch({
      recheck: async () => {
        looks += 1
        begun.resolve()
        await go.promise
      },
      watch: told => {
        moved = told
        return { [Symbol.dispose]() {} }
      },
      clock,
      log: { info() {}, warn() {}, error() {} },
    })
    void slow.run(stop.signal)
    await begun.promise
    moved()
    go.resolve()
    await clock.pass(0)
    expect(looks).toBe(2)
  })

  test('ends with its signal, and nothing is watched any more', async () => {
    const ended = watch.run(stop.signal)
    await clock.pass(0)
    expect(isWatched).toBe(true)
    stop.abort()
    await ended
    expect(isWatched).toBe(false)
  })
})
