import type { JobId, ProfileName } from '../base/names.ts'
import { hasEnded, type Job, jobEventsStreamsMax } from '../qrexec/calls/orders.ts'
import type { Dom0Port } from './dom0.ts'
import { ApiError } from './errors.ts'
import type { JobHistory } from './job-history.ts'

/** dom0 lets go of the oldest stream of a VM beyond its maximum. The difference is for streams that are just ending. */
const feedsMax = jobEventsStreamsMax - 4

/** One who follows a profile's jobs. */
export interface JobSubscription extends AsyncIterable<Job>, Disposable {}

/**
 * One stream from dom0 for each profile that is followed, however many follow it: dom0 keeps few. Each change is remembered
 * in the catalogue once, then told. Whoever is slow misses states between, never the last one of a job.
 */
export class JobFeeds {
  readonly #dom0: Dom0Port
  readonly #history: JobHistory
  readonly #feeds = new Map<ProfileName, Feed>()

  constructor(dom0: Dom0Port, history: JobHistory) {
    this.#dom0 = dom0
    this.#history = history
  }

  /** To be disposed of. Begins with what is known to run; ends when dom0's stream does. Throws `API_STREAMS_BUSY`. */
  subscribe(profile: ProfileName): JobSubscription {
    let feed = this.#feeds.get(profile)
    if (feed === undefined) {
      if (this.#feeds.size >= feedsMax)
        throw new ApiError('API_STREAMS_BUSY', `${feedsMax} profiles are followed`)
      feed = this.#open(profile)
    }
    return feed.subscribe()
  }

  #open(profile: ProfileName): Feed {
    const stop = new AbortController()
    const close = () => {
      stop.abort()
      if (this.#feeds.get(profile) === feed) this.#feeds.delete(profile)
    }
    const feed = new Feed(close)
    this.#feeds.set(profile, feed)
    const pump = async () => {
      for await (const job of this.#dom0.events(profile, stop.signal))
        feed.tell(await this.#history.record(job))
    }
    pump()
      .then(
        () => feed.end(null),
        error => feed.end(stop.signal.aborted ? null : error),
      )
      .finally(close)
    return feed
  }
}

class Feed {
  readonly #close: () => void
  readonly #subscribers = new Set<Subscriber>()
  /** What those who come later have to be told first. */
  readonly #latest = new Map<JobId, Job>()
  #ended: { readonly error: unknown } | null = null

  /** `close`: when nobody follows any more. */
  constructor(close: () => void) {
    this.#close = close
  }

  subscribe(): JobSubscription {
    const subscriber = new Subscriber(() => {
      this.#subscribers.delete(subscriber)
      if (this.#subscribers.size === 0) this.#close()
    })
    this.#subscribers.add(subscriber)
    for (const job of this.#latest.values()) subscriber.tell(job)
    if (this.#ended !== null) subscriber.end(this.#ended.error)
    return subscriber
  }

  tell(job: Job): void {
    if (hasEnded(job)) this.#latest.delete(job.id)
    else this.#latest.set(job.id, job)
    for (const subscriber of this.#subscribers) subscriber.tell(job)
  }

  /** `error: null`: dom0 ended its stream. */
  end(error: unknown): void {
    this.#ended = { error }
    for (const subscriber of this.#subscribers) subscriber.end(error)
  }
}

class Subscriber implements JobSubscription {
  readonly #leave: () => void
  readonly #untold = new Map<JobId, Job>()
  #ended: { readonly error: unknown } | null = null
  #wake = () => {}

  constructor(leave: () => void) {
    this.#leave = leave
  }

  tell(job: Job): void {
    this.#untold.set(job.id, job)
    this.#wake()
  }

  end(error: unknown): void {
    this.#ended ??= { error }
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Job> {
    for (;;) {
      for (const [id, job] of this.#untold) {
        this.#untold.delete(id)
        yield job
      }
      if (this.#untold.size > 0) continue
      if (this.#ended?.error) throw this.#ended.error
      if (this.#ended !== null) return
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  [Symbol.dispose](): void {
    this.end(null)
    this.#leave()
  }
}
