import type { Job, SnapshotSummary } from '../qrexec/calls/orders.ts'
import type { Schedule } from './catalogue/schedule-records.ts'
import type { JobView, ScheduleView, SnapshotView } from './schemas.ts'
import { nextStarts } from './timetable.ts'

const nextRunsShown = 5

export function jobView(job: Job): JobView {
  const { outcome, error, progress } = job
  return {
    id: job.id,
    profile: job.profile,
    kind: job.kind,
    state: job.state,
    initiator: job.initiator,
    key: job.key,
    ordered: job.ordered.toISOString(),
    started: timeView(job.started),
    ended: timeView(job.ended),
    // Only a backup stores: a zero would be no count of anything.
    progress: withoutUndefined({
      ...progress,
      bytesStored: job.kind === 'backup' ? progress.bytesStored : null,
    }),
    outcome:
      outcome === null
        ? null
        : withoutUndefined({ ...outcome, warnings: [...outcome.warnings], drill: drillView(outcome) }),
    error: error === null ? null : { ...error },
  }
}

function drillView({ drill }: NonNullable<Job['outcome']>) {
  return drill === undefined ? undefined : { result: drill.result, levels: [...drill.levels] }
}

export function snapshotView(summary: SnapshotSummary): SnapshotView {
  const { time, keptBy, heldUntil } = summary
  return { ...summary, time: time.toISOString(), keptBy: [...keptBy], heldUntil: timeView(heldUntil) }
}

export function scheduleView(schedule: Schedule, now: Date): ScheduleView {
  const { profile, calendar, timeZone, jitterMinutes, catchUp, enabled, lastJob, failure } = schedule
  const runs = nextStarts(profile, schedule, now, nextRunsShown)
  return {
    profile,
    calendar,
    timeZone,
    jitterMinutes,
    catchUp,
    enabled,
    nextRuns: runs.map(run => run.toISOString()),
    lastJob,
    failure: failure === null ? null : { ...failure, time: failure.time.toISOString() },
  }
}

export function timeView(time: Date | null): string | null {
  return time === null ? null : time.toISOString()
}

type Defined<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K]
} & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
}

/** A field that is absent is absent, not present with nothing in it. */
function withoutUndefined<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as Defined<T>
}
