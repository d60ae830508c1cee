import { KiB, MiB } from '../../base/bytes.ts'
import { drillLevels, levelResults, parseLevelVerdict } from '../../base/drill-levels.ts'
import { type ErrorKind, errorKinds } from '../../base/errors.ts'
import { fields, is } from '../../base/json.ts'
import {
  type IdempotencyKey,
  parseIdempotencyKey,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  parseVmName,
  parseVolumeName,
} from '../../base/names.ts'
import { parseReadChoice } from '../../base/read-choice.ts'
import { type RestoreChoice, volumesChosenMax } from '../../base/restore-choice.ts'
import type { Call, StreamCall } from '../call.ts'
import { json, nothing } from './codecs.ts'

/*
 * What the management VM may ask of dom0: names only. Never a path, a filter, a command or a passphrase.
 */

export const jobKinds = ['backup', 'check', 'drill', 'restore', 'scrub', 'prune'] as const
export type JobKind = (typeof jobKinds)[number]

/** `waiting`: for its turn, for mains or another network, or for the passphrase. The last three are final. */
export const jobStates = ['waiting', 'running', 'done', 'failed', 'cancelled'] as const
export type JobState = (typeof jobStates)[number]

export const finalStates = ['done', 'failed', 'cancelled'] as const satisfies readonly JobState[]

export function hasEnded({ state }: { readonly state: JobState }): boolean {
  return (finalStates as readonly JobState[]).includes(state)
}

export const jobPhases = [
  'queued',
  /** Waits for what the sealed profile says. */
  'battery',
  'metered',
  'passphrase',
  /** A person in the HSM VM is asked. */
  'approval',
  'opening',
  'reading',
  'finishing',
  'checking',
  'restoring',
  /** Of a drill: what was restored is looked at. */
  'examining',
  'booting',
  'scrubbing',
  'marking',
  'rewriting',
  'removing',
  'ended',
] as const

export type JobPhase = (typeof jobPhases)[number]

const kind = is.literal(...jobKinds)
const state = is.literal(...jobStates)
const phase = is.literal(...jobPhases)
const errorKind = is.literal(...(Object.keys(errorKinds) as ErrorKind[]))

const parseErrorReport = fields('error', {
  code: is.string(64),
  kind: errorKind,
  message: is.string(2000),
  hint: is.string(2000),
})

/**
 * Of a backup and a restore bytes of volumes, read or written, or skipped as known. Of a check bytes in storage: packs that
 * are read, and of the others their headers. Of a scrub the objects in storage. Of a prune packs that are
 * rewritten, then objects that are removed. `stored`: what a backup has sent there.
 */
const parseProgress: (untrustedValue: unknown) => Progress = fields('progress', {
  phase,
  bytesDone: is.integer(),
  bytesTotal: is.integer(),
  bytesStored: is.integer(),
  uploadBytesPerSecond: is.optional(is.integer(1)),
})
export interface Progress {
  readonly phase: JobPhase
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly bytesStored: number
  /** The most that is sent; absent: as much as goes through. */
  readonly uploadBytesPerSecond?: number | undefined
}

/** What a prune did or, if `dryRun`, would do. `bytesFreed` counts all objects that are gone; new ones are `bytesStored`. */
const parsePruned = fields('prune', {
  dryRun: is.boolean,
  forgotten: is.integer(),
  packsRemoved: is.integer(),
  packsRewritten: is.integer(),
  bytesFreed: is.integer(),
})

const parseDrilled = fields('drill', {
  result: is.literal(...levelResults),
  levels: is.array(parseLevelVerdict, drillLevels.length),
})

const parseOutcome = fields('outcome', {
  snapshot: is.optional(is.name(parseSnapshotId)),
  /** Bytes of the volumes, and what was new and stored of them. */
  bytes: is.optional(is.integer()),
  bytesStored: is.optional(is.integer()),
  volumes: is.optional(is.integer()),
  /** Things to know that did not stop the job, e.g. a selector that matches nothing. No names of hidden VMs. */
  warnings: is.array(is.string(500), 100),
  /** Proven by a check; hashed by a scrub, as the storage says. */
  objects: is.optional(is.integer()),
  /** Proven by a check; left by a prune. */
  snapshots: is.optional(is.integer()),
  prune: is.optional(parsePruned),
  drill: is.optional(parseDrilled),
})
export type Outcome = ReturnType<typeof parseOutcome>

export const parseJob = fields('job', {
  id: is.name(parseJobId),
  profile: is.name(parseProfileName),
  kind,
  state,
  initiator: is.name(parseVmName),
  key: is.name(parseIdempotencyKey),
  ordered: is.time,
  started: is.nullable(is.time),
  ended: is.nullable(is.time),
  progress: parseProgress,
  outcome: is.nullable(parseOutcome),
  error: is.nullable(parseErrorReport),
})
export type Job = ReturnType<typeof parseJob>

const jobCodec = json(parseJob, 64 * KiB)

/** `key` makes the same order sent twice one job: the job that already has it is returned. */
const orderRequest = json(fields('order', { key: is.name(parseIdempotencyKey) }), KiB)

/** Less would keep a pack of 16 MiB on its way for hours. */
export const uploadBytesPerSecondMin = 16 * KiB

/** What an order of a backup asks for, of the sealed profile's budget or less. An order that joins a job says it anew. */
export interface BackupOrder {
  readonly key: IdempotencyKey
  readonly uploadBytesPerSecond?: number | undefined
  /** What the caller says of the network: a hint, which the sealed profile gives a meaning. */
  readonly metered?: boolean | undefined
}

const parseBackupOrder: (untrustedValue: unknown) => BackupOrder = fields('order', {
  key: is.name(parseIdempotencyKey),
  uploadBytesPerSecond: is.optional(is.integer(uploadBytesPerSecondMin)),
  metered: is.optional(is.boolean),
})

/** Orders a backup and returns at once; `admin.backup.Execute` is the same and answers when it has finished. */
export const orderBackup = {
  service: 'strongroom.Backup',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order a backup of a profile; answers with the job as soon as it is accepted',
  request: json(parseBackupOrder, KiB),
  response: jobCodec,
} as const satisfies Call<{ key: string }, Job>

/** `read`: of which data every blob is opened and hashed; the structure is checked in any case. */
export const orderCheck = {
  service: 'strongroom.Check',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order a check of a profile’s repository against the ledger',
  request: json(fields('order', { key: is.name(parseIdempotencyKey), read: is.name(parseReadChoice) }), KiB),
  response: jobCodec,
} as const satisfies Call<{ key: string; read: string }, Job>

/** The storage hashes what it has, and is not believed: no passphrase is released, and nothing is proven by it. */
export const orderScrub = {
  service: 'strongroom.OrderScrub',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order that the storage hash every object of a profile’s repository',
  request: orderRequest,
  response: jobCodec,
} as const satisfies Call<{ key: string }, Job>

const parseRestoreChoice: (untrustedValue: unknown) => RestoreChoice = fields('choice', {
  /** Only one that the caller may list. */
  vm: is.nullable(is.name(parseVmName)),
  volumes: is.array(is.name(parseVolumeName), volumesChosenMax),
  range: is.nullable(fields('range', { offset: is.integer(), length: is.integer(1) })),
  reuse: is.nullable(is.name(parseJobId)),
})

/** Restores beside what exists, never over it; `snapshot: null` is the newest in the ledger. */
export const orderRestore = {
  service: 'strongroom.Restore',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order a restore of a snapshot, or of some of its volumes, into new volumes in dom0',
  request: json(
    fields('order', {
      key: is.name(parseIdempotencyKey),
      snapshot: is.nullable(is.name(parseSnapshotId)),
      choice: parseRestoreChoice,
    }),
    2 * KiB,
  ),
  response: jobCodec,
} as const satisfies Call<{ key: string; snapshot: string | null; choice: RestoreChoice }, Job>

/** Restores a snapshot into a room that nobody sees, and lets a sandbox look at it; `snapshot: null` is the newest. */
export const orderDrill = {
  service: 'strongroom.Drill',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order a restore drill of a snapshot, by the rules of the sealed profile',
  request: json(
    fields('order', { key: is.name(parseIdempotencyKey), snapshot: is.nullable(is.name(parseSnapshotId)) }),
    KiB,
  ),
  response: jobCodec,
} as const satisfies Call<{ key: string; snapshot: string | null }, Job>

/** A DSSE envelope, as JSON text. */
export const drillReportLengthMax = 64 * KiB
export const readDrillReport = {
  service: 'strongroom.DrillReport',
  argument: 'job',
  from: ['management'],
  to: 'dom0',
  summary: 'the signed report of a restore drill',
  request: nothing,
  response: json(fields('report', { envelope: is.string(drillReportLengthMax) }), 2 * drillReportLengthMax),
} as const satisfies Call<undefined, { envelope: string }>

/** Forgets what the sealed retention does not keep, and removes what nobody needs. `dryRun`: only tells what that is. */
export const orderPrune = {
  service: 'strongroom.Prune',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'order a prune of a profile’s repository by its sealed retention',
  request: json(fields('order', { key: is.name(parseIdempotencyKey), dryRun: is.boolean }), KiB),
  response: jobCodec,
} as const satisfies Call<{ key: string; dryRun: boolean }, Job>

export const cancelJob = {
  service: 'strongroom.Cancel',
  argument: 'job',
  from: ['management'],
  to: 'dom0',
  summary: 'cancel a job of any kind; nothing half-visible is left',
  request: nothing,
  response: jobCodec,
} as const satisfies Call<undefined, Job>

export const jobsCountMax = 200

/** The newest jobs of the profiles that the caller may order, newest first. */
export const listJobs = {
  service: 'strongroom.Jobs',
  argument: 'none',
  from: ['management'],
  to: 'dom0',
  summary: 'jobs of the profiles that the caller may order, newest first',
  request: nothing,
  response: json(is.array(parseJob, jobsCountMax), MiB),
} as const satisfies Call<undefined, readonly Job[]>

/** What the ledger says of a profile's snapshots. Sizes and times only: no VM, volume or file names. */
const parseSnapshotSummary = fields('snapshot', {
  snapshot: is.name(parseSnapshotId),
  job: is.name(parseJobId),
  time: is.time,
  /** Position of its entry in the ledger. */
  entry: is.integer(),
  epoch: is.integer(1),
  volumes: is.integer(),
  bytes: is.integer(),
  bytesStored: is.integer(),
  /** Why a prune would keep it now; none: it would be forgotten. */
  keptBy: is.array(is.string(20), 16),
  /** It is held until then; a date that is past holds no longer. */
  heldUntil: is.nullable(is.time),
})
export type SnapshotSummary = ReturnType<typeof parseSnapshotSummary>

export const listSnapshots = {
  service: 'strongroom.Snapshots',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'the snapshots of a profile as the ledger knows them, oldest first',
  request: nothing,
  response: json(is.array(parseSnapshotSummary, 10_000), 6 * MiB),
} as const satisfies Call<undefined, readonly SnapshotSummary[]>

/** Whoever may order may keep more, within what is sealed: `until` is rounded up to a whole day in UTC. */
export const holdSnapshot = {
  service: 'strongroom.Hold',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'keep a snapshot until a date, whatever the retention says',
  request: json(fields('hold', { snapshot: is.name(parseSnapshotId), until: is.time }), KiB),
  response: json(parseSnapshotSummary, 4 * KiB),
} as const satisfies Call<{ snapshot: string; until: Date }, SnapshotSummary>

export const endHold = {
  service: 'strongroom.EndHold',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'end the hold of a snapshot before its date, where the sealed profile allows it',
  request: json(fields('end of a hold', { snapshot: is.name(parseSnapshotId) }), KiB),
  response: json(parseSnapshotSummary, 4 * KiB),
} as const satisfies Call<{ snapshot: string }, SnapshotSummary>

const parseAlarm = fields('alarm', { code: is.string(64), message: is.string(500), time: is.time })
/** What dom0 wants a person to see to. No names of VMs. */
export type Alarm = ReturnType<typeof parseAlarm>

const parseProfileState = fields('profile', {
  name: is.name(parseProfileName),
  /** Everything stored was read, or was stored, at this time or later, as the ledger proves. `null`: nothing is stored. */
  unreadSince: is.nullable(is.time),
  /** When dom0 orders a backup by itself, as the sealed profile's schedule says. */
  nextRun: is.nullable(is.time),
  alarms: is.array(parseAlarm, 10),
})
export type ProfileState = ReturnType<typeof parseProfileState>

/** Profiles that the caller may order, by policy, and the state of what they have stored. */
export const listProfiles = {
  service: 'strongroom.Profiles',
  argument: 'none',
  from: ['management'],
  to: 'dom0',
  summary: 'profiles that the caller may order, with the alarms of dom0',
  request: nothing,
  response: json(
    fields('profiles', {
      configuration: fields('configuration', { version: is.integer(1), digest: is.string(64) }),
      profiles: is.array(parseProfileState, 10_000),
      /** Of the machine, not of one profile; absent: of an earlier dom0, which tells none. */
      alarms: is.optional(is.array(parseAlarm, 10)),
    }),
    8 * MiB,
  ),
} as const satisfies Call<undefined, unknown>

/** Of one VM; its oldest gives way to the next. */
export const jobEventsStreamsMax = 16

/**
 * One JSON `Job` a line, the present state first, then at every change, at most one a second for progress.
 * The profile is the argument, so that policy can tell one profile's events from another's.
 */
export const jobEvents = {
  service: 'strongroom.Events',
  argument: 'profile',
  from: ['management'],
  to: 'dom0',
  summary: 'a stream of the jobs of one profile, one JSON job a line',
  stream: true,
} as const satisfies StreamCall
