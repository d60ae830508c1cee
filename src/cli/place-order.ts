import type { JobView, OrderView } from '../api/schemas.ts'
import { parseJobView } from './answers.ts'
import type { Session } from './session.ts'
import { watchJob } from './watch.ts'

export interface OrderOptions {
  readonly wait?: boolean
  readonly key?: string
}

/** Sends an order, and prints the job's id or, with `--wait`, what came of it. */
export async function placeOrder(
  session: Session,
  order: OrderView,
  { wait, key }: OrderOptions,
): Promise<void> {
  const headers = key === undefined ? {} : { 'idempotency-key': key }
  const job = await session.api.request('POST', '/v1/orders', parseJobView, { body: order, headers })
  if (wait) return watchOrdered(session, job)
  session.result('job', { job }, `${job.id}\n`)
  const state = job.state === 'running' ? 'running already' : job.state
  session.note(`${job.kind} of ${job.profile} is ${state}; follow it with: strongroom jobs ${job.id}`)
}

async function watchOrdered(session: Session, job: JobView): Promise<void> {
  session.note(`job ${job.id}`)
  await watchJob(session, job)
}
