import { utf8 } from '../base/bytes.ts'
import type { Clock } from '../base/environment.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { hasEnded, type Job } from '../qrexec/calls/orders.ts'
import type { JobHistory } from './job-history.ts'
import { jobView } from './views.ts'

/*
 * Server-sent events (HTML standard, section 9.2). Every event is the whole job, so whoever was cut off has missed
 * nothing but the way; the event's id is a digest of the job, and the state that was last seen is not sent again.
 */

const heartbeatMilliseconds = 15_000
/** A job may end between the look at it and the beginning of dom0's stream: the first silence is short. */
const firstSilenceMilliseconds = 1_000
const reconnectMilliseconds = 2_000

export interface JobEventsPorts {
  readonly history: JobHistory
  readonly clock: Clock
  /** The changes of all jobs of the profile; `null` for a job that has ended. */
  readonly changes: AsyncIterable<Job> | null
}

export function eventId(job: Job): string {
  return sha256Hex(utf8(JSON.stringify(jobView(job)))).slice(0, 16)
}

/** The text of the stream, from the present state to the final one. Ends early without a word when dom0 goes away. */
export async function* jobEventText(
  ports: JobEventsPorts,
  present: Job,
  lastEventId: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<string> {
  yield `retry: ${reconnectMilliseconds}\n\n`
  let seen = lastEventId
  for await (const job of followJob(ports, present, signal)) {
    const id = eventId(job)
    // A comment, so that silence on the line always means that the line is dead.
    yield id === seen ? ': heartbeat\n\n' : `id: ${id}\nevent: job\ndata: ${JSON.stringify(jobView(job))}\n\n`
    seen = id
  }
}

/** Every state of one job, now and then the same again. Ends with the final state. */
async function* followJob(
  { changes, history, clock }: JobEventsPorts,
  present: Job,
  signal: AbortSignal,
): AsyncGenerator<Job> {
  yield present
  if (changes === null) return
  const following = changes[Symbol.asyncIterator]()
  let change = following.next()
  let silence = firstSilenceMilliseconds
  while (!signal.aborted) {
    const result = await within(change, silence, clock, signal)
    silence = heartbeatMilliseconds
    if (result !== null && !result.done) {
      change = following.next()
      if (result.value.id !== present.id) continue
      yield result.value
      if (hasEnded(result.value)) return
      continue
    }
    // Silence, or the end of dom0's stream: ask, for the end may have come before the stream began.
    const asked = (await history.refresh(signal)).find(job => job.id === present.id)
    if (asked === undefined) return
    yield asked
    if (result?.done || hasEnded(asked)) return
  }
}

/** What `promise` gives, or `null` after `milliseconds`. */
async function within<T>(
  promise: Promise<T>,
  milliseconds: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<T | null> {
  const done = new AbortController()
  const timer = clock.sleep(milliseconds, AbortSignal.any([done.signal, signal])).then(() => null)
  try {
    return await Promise.race([promise, timer])
  } finally {
    done.abort()
    timer.catch(() => {})
    promise.catch(() => {})
  }
}
