import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import { isPassing, reportOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { keyOfRun } from '../profiles/schedule.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { Schedule, ScheduleProgress } from './catalogue/schedule-records.ts'
import type { Dom0Port } from './dom0.ts'
import { JobHistory } from './job-history.ts'
import { dueNow, nextStarts } from './timetable.ts'

const tickMilliseconds: Milliseconds = 20_000
const retryMilliseconds: Milliseconds = 5 * 60_000

export interface SchedulerPorts {
  readonly clock: Clock
  readonly catalogue: Catalogue
  readonly dom0: Dom0Port
  readonly log: Log
}

/**
 * Orders what is due, with no one present. One order a due time: its idempotency key comes from profile and due time,
 * so a crash between order and note, or a second scheduler in this VM, gives the same job. After an outage one run is made up
 * for, not each that was missed. An order that dom0 refused is recorded, shown as an alarm, and left until the next
 * due time; one that did not reach dom0 is tried again with its key until then.
 */
export class Scheduler {
  readonly #ports: SchedulerPorts
  readonly #history: JobHistory

  constructor(ports: SchedulerPorts) {
    this.#ports = ports
    this.#history = new JobHistory(ports.dom0, ports.catalogue)
  }

  /** Until `signal`; no failure ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#ports
    while (!signal.aborted) {
      try {
        await this.tick(signal)
        await this.#history.refresh(signal)
      } catch (error) {
        if (!signal.aborted) log.warn('the scheduler could not look after its jobs', { error })
      }
      await clock.sleep(tickMilliseconds, signal).catch(() => {})
    }
  }

  /** One look at the clock. Throws when the catalogue does, or when `signal` cuts an order off. */
  async tick(signal: AbortSignal): Promise<void> {
    const now = this.#ports.clock.now()
    for (const schedule of await this.#ports.catalogue.schedules.list()) {
      if (signal.aborted) return
      await this.#serve(schedule, now, signal)
    }
  }

  async #serve(schedule: Schedule, now: Date, signal: AbortSignal): Promise<void> {
    const { catalogue, log } = this.#ports
    const { profile, nextRun, retryAfter } = schedule
    if (nextRun === null || now < nextRun || (retryAfter !== null && now < retryAfter)) return
    const due = dueNow(schedule, now)
    const following = nextStarts(profile, schedule, now, 1)[0] ?? null
    if (due === null) {
      log.warn('a scheduled backup was missed and is not made up for', { profile, missed: nextRun })
      await catalogue.schedules.advance(schedule, { ...schedule, nextRun: following, retryAfter: null })
      return
    }
    await catalogue.schedules.advance(schedule, await this.#order(schedule, due, following, now, signal))
  }

  async #order(
    schedule: Schedule,
    due: Date,
    following: Date | null,
    now: Date,
    signal: AbortSignal,
  ): Promise<ScheduleProgress> {
    const { dom0, log } = this.#ports
    const { profile, lastJob } = schedule
    const settled = { lastRun: due, nextRun: following, retryAfter: null }
    try {
      const job = await this.#history.record(await dom0.backup(profile, keyOfRun(profile, due), {}, signal))
      log.info('a scheduled backup was ordered', { profile, due, job: job.id })
      return { ...settled, lastJob: job.id, failure: null }
    } catch (error) {
      if (signal.aborted) throw error // asked to stop: nothing is known of this run, and it stays due
      log.error('a scheduled backup could not be ordered', { profile, due, error })
      const report = reportOf(error)
      const failure = { code: report.code, message: report.message, time: now }
      if (!isPassing(report)) return { ...settled, lastJob, failure }
      const retryAfter = new Date(now.getTime() + retryMilliseconds)
      return { lastRun: schedule.lastRun, nextRun: schedule.nextRun, retryAfter, lastJob, failure }
    }
  }
}
