import { expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { parseProfileName, parseVmName, repositoryOf } from '../../src/base/names.ts'
import { dom0Storage } from '../../src/main/dom0-storage.ts'
import { parseObjectName } from '../../src/storage/object-store.ts'
import { UploadBudget } from '../../src/storage/upload-budget.ts'
import { copyingPair } from '../support/copying-pair.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

it('a job that is cancelled does not wait for a storage VM that takes no call', async () => {
  const asked: AbortSignal[] = []
  const open = dom0Storage(
    {
      open: (_service, _argument, _target, signal) => {
        asked.push(signal)
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      },
    },
    systemClock,
  )
  const job = new AbortController()
  await using storage = await open(
    parseVmName('store'),
    repositoryOf(parseProfileName('nightly'), 1),
    new UploadBudget(systemClock, null).share(),
    job.signal,
  )
  const waiting = storage.head(parseObjectName('config'), new AbortController().signal)
  setImmediate(() => job.abort(new Error('cancelled')))
  await expect(waiting).rejects.toThrow('cancelled')
  expect(asked.map(({ aborted }) => aborted)).toEqual([true])
})

it('what a job sends waits for its share, and for nothing any more when the job has ended', async () => {
  const [near, far] = copyingPair()
  far.resume()
  const clock = new SteppedClock()
  const upload = new UploadBudget(clock, 64 * 1024).share()
  const open = dom0Storage({ open: async () => near }, clock)
  const job = new AbortController()
  const repository = repositoryOf(parseProfileName('nightly'), 1)
  {
    await using storage = await open(parseVmName('store'), repository, upload, job.signal)
    const put = storage.put(parseObjectName('config'), new Uint8Array(1024), job.signal)
    // The header was the first to go; what follows it waits.
    while (clock.sleeping === 0) await new Promise(resolve => setImmediate(resolve))
    job.abort(new Error('cancelled'))
    await expect(put).rejects.toThrow('cancelled')
  }
  expect(clock.sleeping).toBe(0)
})
