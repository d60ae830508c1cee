import { expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { parseProfileName, parseVmName, repositoryOf } from '../../src/base/names.ts'
import { dom0Storage } from '../../src/main/dom0-storage.ts'
import { parseObjectName } from '../../src/storage/object-store.ts'
import { UploadBudget } from '../../src/storage/upload-budget.ts'

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
