import { systemEnvironment } from '../../src/base/environment.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { withQuota } from '../../src/storage/quota.ts'
import { reconnecting } from '../../src/storage/reconnect.ts'
import { withRetry } from '../../src/storage/retry.ts'
import { UploadBudget } from '../../src/storage/upload-budget.ts'
import { describeObjectStore } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { SleepingClock, serve, temporaryDirectory } from './support.ts'

describeObjectStore('MemoryStore', async () => ({ store: new MemoryStore() }))

describeObjectStore('LocalStore', async () => {
  const directory = await temporaryDirectory()
  return {
    store: new LocalStore(`${directory.path}/repositories/work-1`, systemEnvironment),
    close: () => directory[Symbol.asyncDispose](),
  }
})

describeObjectStore('withQuota', async () => ({ store: withQuota(new MemoryStore(), 64 * 1024 * 1024) }))

describeObjectStore('withRetry', async () => ({
  store: withRetry(new MemoryStore(), new SleepingClock(), 3),
}))

describeObjectStore('the storage call over MemoryStore', async () => {
  const served = await serve(new MemoryStore())
  return { store: served.remote, close: () => served[Symbol.asyncDispose]() }
})

describeObjectStore('the storage call at a rate', async () => {
  const served = await serve(new MemoryStore(), new UploadBudget(new SleepingClock(), 1024 * 1024).share())
  return { store: served.remote, close: () => served[Symbol.asyncDispose]() }
})

describeObjectStore(
  'retry, reconnection, the storage call and LocalStore, one around the other',
  async () => {
    const directory = await temporaryDirectory()
    const local = withQuota(new LocalStore(directory.path, systemEnvironment), 64 * 1024 * 1024)
    const remote = reconnecting(async () => (await serve(local)).remote, new AbortController().signal)
    return {
      store: withRetry(remote, new SleepingClock(), 3),
      async close() {
        await remote[Symbol.asyncDispose]()
        await directory[Symbol.asyncDispose]()
      },
    }
  },
)
