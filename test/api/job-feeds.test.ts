import { expect, test } from 'vitest'
import { JobFeeds } from '../../src/api/job-feeds.ts'
import { JobHistory } from '../../src/api/job-history.ts'
import { parseIdempotencyKey, parseProfileName } from '../../src/base/names.ts'
import { type Job, jobEventsStreamsMax } from '../../src/qrexec/calls/orders.ts'
import { finished, work } from './fake-dom0.ts'
import { eventually, type Harness, startApi } from './harness.ts'

async function world(): Promise<Harness & { readonly feeds: JobFeeds }> {
  const api = await startApi()
  return { ...api, feeds: new JobFeeds(api.dom0, new JobHistory(api.dom0, api.catalogue)) }
}

async function order({ dom0 }: Harness): Promise<Job> {
  return await dom0.backup(work, parseIdempotencyKey(`key-${dom0.board.size}-of-a-test`))
}

const running = (bytesDone: number) => ({
  state: 'running' as const,
  progress: { phase: 'reading' as const, bytesDone, bytesTotal: 9, bytesStored: 0 },
})

test('all who follow a profile share one stream of dom0, which ends with the last of them', async () => {
  await using api = await world()
  const job = await order(api)
  const [one, two] = [api.feeds.subscribe(work), api.feeds.subscribe(work)]
  await eventually(() => api.dom0.followers === 1)
  api.dom0.change(job.id, running(1))
  for (const follower of [one, two])
    for await (const { progress } of follower) {
      expect(progress.bytesDone).toBe(1)
      break
    }
  one[Symbol.dispose]()
  expect(api.dom0.followers).toBe(1)
  two[Symbol.dispose]()
  await eventually(() => api.dom0.followers === 0)
  expect(api.dom0.calls.filter(call => call === 'events work')).toHaveLength(1)
})

test('whoever comes later is told what runs; whoever is slow hears the last state of each job', async () => {
  await using api = await world()
  const [first, second] = [await order(api), await order(api)]
  using early = api.feeds.subscribe(work)
  await eventually(() => api.dom0.followers === 1)
  for (let bytes = 0; bytes < 100; bytes++) api.dom0.change(first.id, running(bytes % 9))
  api.dom0.change(second.id, finished)
  api.dom0.change(first.id, running(9))
  const heard: string[] = []
  for await (const { id, progress, state } of early) {
    heard.push(`${id} ${state}`)
    if (progress.bytesDone === 9) break
  }
  expect(heard).toContain(`${second.id} done`)
  using late = api.feeds.subscribe(work)
  for await (const job of late) {
    expect(job).toMatchObject({ id: first.id, progress: { bytesDone: 9 } })
    break
  }
})

test('no more profiles are followed than dom0 keeps streams for', async () => {
  await using api = await world()
  const profileOf = (number: number) => parseProfileName(`profile-${number}`)
  const followed = []
  let refused: unknown = null
  for (let number = 0; refused === null; number++)
    try {
      followed.push(api.feeds.subscribe(profileOf(number)))
    } catch (error) {
      refused = error
    }
  expect(refused).toMatchObject({ code: 'API_STREAMS_BUSY', kind: 'unavailable' })
  expect(followed.length).toBeGreaterThan(0)
  expect(followed.length).toBeLessThan(jobEventsStreamsMax)
  followed.push(api.feeds.subscribe(profileOf(0)))
  followed.splice(1, 1)[0]?.[Symbol.dispose]()
  followed.push(api.feeds.subscribe(profileOf(99)))
  for (const one of followed) one[Symbol.dispose]()
  await eventually(() => api.dom0.followers === 0)
})

test('a stream that dom0 ends or breaks ends for all, and the next one begins anew', async () => {
  await using api = await world()
  await order(api)
  using follower = api.feeds.subscribe(work)
  await eventually(() => api.dom0.followers === 1)
  api.dom0.endEvents()
  for await (const _ of follower) expect.unreachable()
  api.dom0.failure = new Error('dom0 is away')
  using next = api.feeds.subscribe(work)
  const read = async () => {
    for await (const _ of next) expect.unreachable()
  }
  await expect(read()).rejects.toThrow('dom0 is away')
})
