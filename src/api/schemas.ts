import { type Static, Type } from 'typebox'
import { drillLevels, levelResults } from '../base/drill-levels.ts'
import { type ErrorKind, errorKinds } from '../base/errors.ts'
import { volumesChosenMax } from '../base/restore-choice.ts'
import { jitterMinutesMax } from '../profiles/jitter.ts'
import { jobKinds, jobPhases, jobStates, uploadBytesPerSecondMin } from '../qrexec/calls/orders.ts'

/*
 * Every shape that crosses the HTTP API, once: requests are checked against these, answers are written by them (so
 * what is not named here does not leave), and /openapi.json is made from them. Unknown fields are refused.
 */

const closed = { additionalProperties: false } as const

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()])
const Time = Type.String({ format: 'date-time', description: 'RFC 3339, UTC' })
const Count = Type.Integer({ minimum: 0 })
const Name = (pattern: string, description: string) => Type.String({ pattern, description })

export const ProfileNameText = Name('^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}$', 'name of a sealed profile')
export const JobIdText = Name('^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$', 'made by dom0; sorts by time')
export const SnapshotIdText = Name('^[0-9a-f]{64}$', 'SHA-256 of the stored snapshot')
const VolumeNameText = Name('^[a-z][a-z0-9_-]{0,30}$', 'name of a volume, e.g. private')
export const KeyText = Name('^[A-Za-z0-9._-]{8,64}$', 'the same order sent twice with one key is one job')

const Kind = Type.Enum([...jobKinds])
const State = Type.Enum([...jobStates], { description: 'done, failed and cancelled are final' })
const Kinds = Type.Enum(Object.keys(errorKinds) as ErrorKind[])

export const ProblemSchema = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String({ description: 'stable; see the reference of errors' }),
    kind: Kinds,
    hint: Type.String({ description: 'what a person can do' }),
  },
  { ...closed, $id: 'Problem', title: 'Problem', description: 'RFC 9457' },
)
export type Problem = Static<typeof ProblemSchema>

const ErrorReportSchema = Type.Object(
  { code: Type.String(), kind: Kinds, message: Type.String(), hint: Type.String() },
  closed,
)

export const JobSchema = Type.Object(
  {
    id: JobIdText,
    profile: ProfileNameText,
    kind: Kind,
    state: State,
    initiator: Type.String({ description: 'the VM that ordered' }),
    key: KeyText,
    ordered: Time,
    started: Nullable(Time),
    ended: Nullable(Time),
    progress: Type.Object(
      {
        phase: Type.Enum([...jobPhases]),
        bytesDone: Count,
        bytesTotal: Count,
        bytesStored: Nullable(
          Type.Integer({ minimum: 0, description: 'sent to storage; null unless a backup' }),
        ),
        uploadBytesPerSecond: Type.Optional(
          Type.Integer({ minimum: 1, description: 'the most that is sent; absent: no limit' }),
        ),
      },
      {
        ...closed,
        description:
          'bytes done and in all; backup, restore: of volumes; check: of packs that are read, and of the headers of the ' +
          'others; scrub: of objects in storage. A job that is done has done all',
      },
    ),
    outcome: Nullable(
      Type.Object(
        {
          snapshot: Type.Optional(SnapshotIdText),
          bytes: Type.Optional(Count),
          bytesStored: Type.Optional(Count),
          volumes: Type.Optional(Count),
          warnings: Type.Array(Type.String()),
          objects: Type.Optional(Count),
          snapshots: Type.Optional(Count),
          prune: Type.Optional(
            Type.Object(
              {
                dryRun: Type.Boolean(),
                forgotten: Count,
                packsRemoved: Count,
                packsRewritten: Count,
                bytesFreed: Count,
              },
              { ...closed, description: 'what a prune did or, if dryRun, would do' },
            ),
          ),
          drill: Type.Optional(
            Type.Object(
              {
                result: Type.Enum([...levelResults]),
                levels: Type.Array(
                  Type.Object(
                    {
                      level: Type.Enum([...drillLevels]),
                      result: Type.Enum([...levelResults]),
                      message: Type.String(),
                      milliseconds: Count,
                    },
                    closed,
                  ),
                ),
              },
              { ...closed, description: 'what a restore drill proved, level by level' },
            ),
          ),
        },
        closed,
      ),
    ),
    error: Nullable(ErrorReportSchema),
  },
  { ...closed, $id: 'Job', title: 'Job' },
)
export type JobView = Static<typeof JobSchema>

export const JobsSchema = Type.Object(
  {
    jobs: Type.Array(Type.Ref('Job')),
    stale: Type.Boolean({ description: 'dom0 did not answer: this is what was last seen' }),
  },
  closed,
)
export interface JobsView {
  readonly jobs: JobView[]
  readonly stale: boolean
}

export const OrderSchema = Type.Object(
  {
    profile: ProfileNameText,
    kind: Type.Optional(Kind),
    snapshot: Type.Optional(SnapshotIdText),
    vm: Type.Optional(
      Name(
        '^[a-zA-Z][a-zA-Z0-9_.-]{0,30}$',
        'restore: only of this VM, which must be one that may be listed',
      ),
    ),
    volumes: Type.Optional(
      Type.Array(VolumeNameText, {
        minItems: 1,
        maxItems: volumesChosenMax,
        description: 'restore: of that VM; all when absent',
      }),
    ),
    range: Type.Optional(
      Type.String({
        maxLength: 48,
        description: 'restore: of the one volume, OFFSET+LENGTH in bytes or with KiB, MiB, GiB, TiB',
        examples: ['1GiB+64MiB'],
      }),
    ),
    reuse: Type.Optional(
      Name(
        '^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$',
        'restore: job of an earlier restore of the profile; what is the same is taken from there, not fetched',
      ),
    ),
    read: Type.Optional(
      Type.String({
        maxLength: 16,
        description:
          'check: which data is read; structure (when absent), all, a share like 5% or 1/7, or 30d: as much as it takes that all is read within 30 days',
        examples: ['30d'],
      }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: 'prune: only tell what would be done' })),
    metered: Type.Optional(
      Type.Boolean({
        description:
          'backup: the network is; the sealed profile says whether that is a reason to wait or to send less',
      }),
    ),
    uploadBytesPerSecond: Type.Optional(
      Type.Integer({
        minimum: uploadBytesPerSecondMin,
        description: 'backup: the most that is sent; a lower limit of the sealed profile or of dom0 counts',
      }),
    ),
  },
  {
    ...closed,
    description:
      'kind is backup when absent; snapshot is for restore and drill, vm, volumes, range and reuse are for restore, read for check, dryRun for prune, uploadBytesPerSecond and metered for backup',
  },
)
export type OrderView = Static<typeof OrderSchema>

const Configuration = Type.Object({ version: Type.Integer({ minimum: 1 }), digest: Type.String() }, closed)

export const ProfilesSchema = Type.Object(
  { configuration: Configuration, profiles: Type.Array(Type.Object({ name: ProfileNameText }, closed)) },
  closed,
)

export const SnapshotSchema = Type.Object(
  {
    snapshot: SnapshotIdText,
    job: JobIdText,
    time: Time,
    entry: Type.Integer({ minimum: 0, description: 'index of its entry in the ledger' }),
    epoch: Type.Integer({ minimum: 1 }),
    volumes: Count,
    bytes: Count,
    bytesStored: Count,
    keptBy: Type.Array(Type.String(), {
      description: 'why a prune would keep it now; empty: it would be forgotten',
    }),
    heldUntil: Nullable(Time),
  },
  { ...closed, $id: 'Snapshot', title: 'Snapshot' },
)
export type SnapshotView = Static<typeof SnapshotSchema>

export const SnapshotsSchema = Type.Object(
  { snapshots: Type.Array(Type.Ref('Snapshot')) },
  { ...closed, description: 'oldest first, as the ledger knows them' },
)
export interface SnapshotsView {
  readonly snapshots: SnapshotView[]
}

export const HoldSchema = Type.Object(
  {
    until: Type.String({
      format: 'date-time',
      description: 'rounded up to a whole day in UTC; the sealed profile says how far ahead it may be',
    }),
  },
  closed,
)

export const ScheduleSettingSchema = Type.Object(
  {
    calendar: Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'systemd calendar expression',
      examples: ['mon..fri 21:00'],
    }),
    timeZone: Type.Optional(
      Type.String({ maxLength: 64, description: 'IANA name; UTC when absent', examples: ['Europe/Berlin'] }),
    ),
    jitterMinutes: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: jitterMinutesMax,
        description: 'spread over this many minutes; 0 when absent',
      }),
    ),
    catchUp: Type.Optional(
      Type.Boolean({ description: 'make up for one run missed in an outage; true when absent' }),
    ),
    enabled: Type.Optional(Type.Boolean({ description: 'true when absent' })),
  },
  closed,
)
export type ScheduleSettingView = Static<typeof ScheduleSettingSchema>

export const ScheduleSchema = Type.Object(
  {
    profile: ProfileNameText,
    calendar: Type.String(),
    timeZone: Type.String(),
    jitterMinutes: Type.Integer(),
    catchUp: Type.Boolean(),
    enabled: Type.Boolean(),
    nextRuns: Type.Array(Time, { description: 'at most five, jitter included' }),
    lastJob: Nullable(JobIdText),
    failure: Nullable(
      Type.Object(
        { code: Type.String(), message: Type.String(), time: Time },
        {
          ...closed,
          description: 'why the last due run gave no job',
        },
      ),
    ),
  },
  { ...closed, $id: 'Schedule', title: 'Schedule' },
)
export type ScheduleView = Static<typeof ScheduleSchema>

export const SchedulesSchema = Type.Object({ schedules: Type.Array(Type.Ref('Schedule')) }, closed)
export interface SchedulesView {
  readonly schedules: ScheduleView[]
}

export const LedgerSchema = Type.Object(
  {
    size: Count,
    checkpoint: Type.String({ description: 'signed note as dom0 sent it (C2SP tlog-checkpoint)' }),
    from: Count,
    entries: Type.Array(Type.String(), { description: 'base64, from index `from` on' }),
    keys: Type.Array(Type.String(), { description: 'verifier keys that this VM checks checkpoints with' }),
  },
  closed,
)
export type LedgerView = Static<typeof LedgerSchema>

const MachineStates = Type.Enum(['accepted', 'refused', 'unanswered'], {
  description: 'unanswered: nothing was proven, for a reason that may pass',
})

export const AttestationSchema = Type.Object(
  {
    attestation: Nullable(
      Type.Object(
        {
          time: Time,
          state: MachineStates,
          known: Type.Boolean({ description: 'whether this machine has attested before' }),
          configuration: Nullable(Configuration),
          machine: Nullable(
            Type.Object(
              {
                endorsement: Type.String({ description: 'which TPM it is: SHA-256 in the name of its key' }),
                attestationKey: Type.String({ description: 'SHA-256 in the name of the key that signs' }),
                tpm: Type.Enum(['hardware', 'software', 'unproven']),
              },
              { ...closed, description: 'as it was enrolled' },
            ),
          ),
          findings: Type.Array(
            Type.Object(
              {
                code: Type.String(),
                severity: Type.Enum(['refused', 'noted']),
                words: Type.String(),
                hint: Type.String({ description: 'what a person can do' }),
              },
              closed,
            ),
          ),
          error: Nullable(ErrorReportSchema),
        },
        closed,
      ),
    ),
  },
  {
    ...closed,
    description: 'null: dom0 has no TPM and never had one, or nobody has asked since this service started',
  },
)
export type AttestationView = Static<typeof AttestationSchema>

export const StatusSchema = Type.Object(
  {
    time: Time,
    dom0: Type.Object(
      { reachable: Type.Boolean(), code: Nullable(Type.String({ description: 'why it did not answer' })) },
      closed,
    ),
    configuration: Nullable(Configuration),
    ledger: Nullable(
      Type.Object(
        {
          size: Count,
          root: Type.String(),
          seen: Time,
          state: Type.Enum(['witnessed', 'alarm']),
        },
        { ...closed, description: 'the newest checkpoint that this VM has verified' },
      ),
    ),
    machine: Nullable(
      Type.Object(
        { state: MachineStates, time: Time },
        { ...closed, description: 'what dom0 attested last; null: it has no TPM, or was not asked yet' },
      ),
    ),
    alarms: Type.Array(
      Type.Object(
        { code: Type.String(), message: Type.String(), time: Time, profile: Nullable(Type.String()) },
        closed,
      ),
    ),
    running: Type.Array(Type.Ref('Job')),
    profiles: Type.Array(
      Type.Object(
        {
          name: ProfileNameText,
          nextRun: Nullable(Time),
          lastBackup: Nullable(Type.Ref('Job')),
          lastSuccess: Nullable(Time),
          lastCheck: Nullable(Type.Ref('Job')),
          unreadSince: Nullable(
            Type.String({
              format: 'date-time',
              description:
                'all stored data was read by a check, or stored, then or later; null: nothing is, or dom0 is silent',
            }),
          ),
        },
        closed,
      ),
    ),
  },
  closed,
)

export type StatusView = Omit<Static<typeof StatusSchema>, 'running' | 'profiles'> & {
  running: JobView[]
  profiles: {
    name: string
    nextRun: string | null
    lastBackup: JobView | null
    lastSuccess: string | null
    lastCheck: JobView | null
    unreadSince: string | null
  }[]
}

export const HealthSchema = Type.Object({ status: Type.Literal('ok') }, closed)
