import type {
  AttestationView,
  JobsView,
  JobView,
  LedgerView,
  Problem,
  SchedulesView,
  ScheduleView,
  SnapshotsView,
  SnapshotView,
  StatusView,
} from '../api/schemas.ts'
import { drillLevels, levelResults } from '../base/drill-levels.ts'
import { type ErrorKind, errorKinds, printable } from '../base/errors.ts'
import { fields, is } from '../base/json.ts'
import { jobKinds, jobPhases, jobStates } from '../qrexec/calls/orders.ts'

/*
 * What the API answers, checked on arrival. The types are those of the API's schemas, so a parser that falls behind
 * them does not compile.
 */

type Parser<T> = (untrustedValue: unknown) => T

/** Made printable on arrival: all of it may end on a terminal, and the management VM is not trusted with that. */
const text = (value: unknown): string => printable(is.string(64 * 1024)(value))
const count = is.integer()
const time = (value: unknown): string => is.time(value).toISOString()
const nullableTime = is.nullable(time)
const errorKind = is.literal(...(Object.keys(errorKinds) as ErrorKind[]))
const listMax = 100_000

/** Absent fields stay absent, as the types of the schemas want it. */
function tidy<T extends object>(parse: Parser<T>) {
  type Tidy = { -readonly [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
    -readonly [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>
  }
  return (value: unknown): Tidy =>
    Object.fromEntries(Object.entries(parse(value)).filter(([, item]) => item !== undefined)) as Tidy
}

const list =
  <T>(parse: Parser<T>): Parser<T[]> =>
  value => [...is.array(parse, listMax)(value)]

export const parseProblem: Parser<Problem> = fields('problem', {
  type: text,
  title: text,
  status: is.integer(100, 599),
  detail: text,
  code: text,
  kind: errorKind,
  hint: text,
})

export const parseJobView: Parser<JobView> = fields('job', {
  id: text,
  profile: text,
  kind: is.literal(...jobKinds),
  state: is.literal(...jobStates),
  initiator: text,
  key: text,
  ordered: time,
  started: nullableTime,
  ended: nullableTime,
  progress: tidy(
    fields('progress', {
      phase: is.literal(...jobPhases),
      bytesDone: count,
      bytesTotal: count,
      bytesStored: is.nullable(count),
      uploadBytesPerSecond: is.optional(count),
    }),
  ),
  outcome: is.nullable(
    tidy(
      fields('outcome', {
        snapshot: is.optional(text),
        bytes: is.optional(count),
        bytesStored: is.optional(count),
        volumes: is.optional(count),
        warnings: list(text),
        objects: is.optional(count),
        snapshots: is.optional(count),
        prune: is.optional(
          fields('prune', {
            dryRun: is.boolean,
            forgotten: count,
            packsRemoved: count,
            packsRewritten: count,
            bytesFreed: count,
          }),
        ),
        drill: is.optional(
          fields('drill', {
            result: is.literal(...levelResults),
            levels: list(
              fields('level', {
                level: is.literal(...drillLevels),
                result: is.literal(...levelResults),
                message: text,
                milliseconds: count,
              }),
            ),
          }),
        ),
      }),
    ),
  ),
  error: is.nullable(fields('error', { code: text, kind: errorKind, message: text, hint: text })),
})

export const parseReportView = fields('report', { envelope: is.string(64 * 1024) })

export const parseJobsView: Parser<JobsView> = fields('jobs', { jobs: list(parseJobView), stale: is.boolean })

export const parseSnapshotView: Parser<SnapshotView> = fields('snapshot', {
  snapshot: text,
  job: text,
  time,
  entry: count,
  epoch: count,
  volumes: count,
  bytes: count,
  bytesStored: count,
  keptBy: list(text),
  heldUntil: nullableTime,
})

export const parseSnapshotsView: Parser<SnapshotsView> = fields('snapshots', {
  snapshots: list(parseSnapshotView),
})

export const parseScheduleView: Parser<ScheduleView> = fields('schedule', {
  profile: text,
  calendar: text,
  timeZone: text,
  jitterMinutes: count,
  catchUp: is.boolean,
  enabled: is.boolean,
  nextRuns: list(time),
  lastJob: is.nullable(text),
  failure: is.nullable(fields('failure', { code: text, message: text, time })),
})

export const parseSchedulesView: Parser<SchedulesView> = fields('schedules', {
  schedules: list(parseScheduleView),
})

export const parseLedgerView: Parser<LedgerView> = fields('ledger', {
  size: count,
  checkpoint: is.string(64 * 1024),
  from: count,
  entries: list(is.string(128 * 1024)),
  keys: list(text),
})

const machineState = is.literal('accepted', 'refused', 'unanswered')

export const parseAttestationView: Parser<AttestationView> = fields('attestation', {
  attestation: is.nullable(
    fields('attestation', {
      time,
      state: machineState,
      known: is.boolean,
      configuration: is.nullable(fields('configuration', { version: count, digest: text })),
      machine: is.nullable(
        fields('machine', {
          endorsement: text,
          attestationKey: text,
          tpm: is.literal('hardware', 'software', 'unproven'),
        }),
      ),
      findings: list(
        fields('finding', { code: text, severity: is.literal('refused', 'noted'), words: text, hint: text }),
      ),
      error: is.nullable(fields('error', { code: text, kind: errorKind, message: text, hint: text })),
    }),
  ),
})

export const parseStatusView: Parser<StatusView> = fields('status', {
  time,
  dom0: fields('dom0', { reachable: is.boolean, code: is.nullable(text) }),
  configuration: is.nullable(fields('configuration', { version: count, digest: text })),
  ledger: is.nullable(
    fields('ledger', { size: count, root: text, seen: time, state: is.literal('witnessed', 'alarm') }),
  ),
  machine: is.nullable(fields('machine', { state: machineState, time })),
  alarms: list(fields('alarm', { code: text, message: text, time, profile: is.nullable(text) })),
  running: list(parseJobView),
  profiles: list(
    fields('profile', {
      name: text,
      nextRun: nullableTime,
      lastBackup: is.nullable(parseJobView),
      lastSuccess: nullableTime,
      lastCheck: is.nullable(parseJobView),
      unreadSince: nullableTime,
    }),
  ),
})

export function parseNothing(): null {
  return null
}
