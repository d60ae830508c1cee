import { describe, expect, test } from 'vitest'
import { UploadBudget, type UploadShare } from '../../src/storage/upload-budget.ts'
import { never } from '../contract/object-store.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const KiB = 1024
const piece = 64 * KiB

/** A job that always has something to send; counts what it was let send. */
function sender(share: UploadShare, signal: AbortSignal = never) {
  const sent = { bytes: 0, ended: Promise.resolve() }
  const send = async () => {
    for (;;) {
      await share.take(piece, signal)
      sent.bytes += piece
    }
  }
  sent.ended = send()
  sent.ended.catch(() => {})
  return sent
}

describe('what all jobs may send', () => {
  test('is one job’s when it is alone, piece by piece', async () => {
    const clock = new SteppedClock()
    const sent = sender(new UploadBudget(clock, 1024 * KiB).share())
    await clock.pass(250)
    expect(sent.bytes).toBeLessThanOrEqual(256 * KiB + piece)
    await clock.pass(9750)
    expect(sent.bytes / KiB).toBeCloseTo(10 * 1024 + 64, -2)
  })

  test('is shared equally by jobs that have something to send, whenever they came', async () => {
    const clock = new SteppedClock()
    const budget = new UploadBudget(clock, 1024 * KiB)
    const first = sender(budget.share())
    await clock.pass(5000)
    const second = sender(budget.share())
    const third = sender(budget.share())
    const before = first.bytes
    await clock.pass(30_000)
    for (const bytes of [first.bytes - before, second.bytes, third.bytes])
      expect(Math.abs(bytes - 10 * 1024 * KiB)).toBeLessThanOrEqual(2 * piece)
  })

  test('is the others’ as far as one has a lower limit of its own, or has ended', async () => {
    const clock = new SteppedClock()
    const budget = new UploadBudget(clock, 1024 * KiB)
    const slow = budget.share()
    slow.limit(128 * KiB)
    expect(slow.bytesPerSecondMax).toBe(128 * KiB)
    const end = new AbortController()
    const slowly = sender(slow, end.signal)
    const other = sender(budget.share())
    await clock.pass(10_000)
    expect(Math.abs(slowly.bytes - 1280 * KiB)).toBeLessThanOrEqual(2 * piece)
    expect(Math.abs(other.bytes - 8960 * KiB)).toBeLessThanOrEqual(2 * piece)
    end.abort(new Error('cancelled'))
    await expect(slowly.ended).rejects.toThrow('cancelled')
    const before = other.bytes
    await clock.pass(10_000)
    expect(Math.abs(other.bytes - before - 10_240 * KiB)).toBeLessThanOrEqual(2 * piece)
  })

  test('changes with the limit of a job, from the next piece on', async () => {
    const clock = new SteppedClock()
    const share = new UploadBudget(clock, null).share()
    share.limit(64 * KiB)
    const sent = sender(share)
    await clock.pass(4500)
    expect(sent.bytes).toBe(5 * piece)
    share.limit(640 * KiB)
    await clock.pass(10_500)
    expect(Math.abs(sent.bytes - 5 * piece - 100 * piece)).toBeLessThanOrEqual(2 * piece)
  })

  test('is not saved up by a job that sent nothing for a while', async () => {
    const clock = new SteppedClock()
    const share = new UploadBudget(clock, 64 * KiB).share()
    await share.take(piece, never)
    await clock.pass(60_000)
    const sent = sender(share)
    await clock.pass(2500)
    expect(sent.bytes).toBe(3 * piece)
  })
})
