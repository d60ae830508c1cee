import type { BackupWanted, Dom0Port, OfferedProfiles } from '../../src/api/dom0.ts'
import type { IdempotencyKey, JobId } from '../../src/base/names.ts'
import {
  type ProfileName,
  parseJobId,
  parseProfileName,
  parseVmName,
  type SnapshotId,
} from '../../src/base/names.ts'
import type { ReadChoice } from '../../src/base/read-choice.ts'
import type { RestoreChoice } from '../../src/base/restore-choice.ts'
import { EngineError } from '../../src/engine/errors.ts'
import type { AttestAnswer, Attested, Question } from '../../src/qrexec/calls/attest.ts'
import type { CosignRequest, LedgerPage } from '../../src/qrexec/calls/ledger.ts'
import type { Job, JobKind, ProfileState, SnapshotSummary } from '../../src/qrexec/calls/orders.ts'

export const work = parseProfileName('work')

/** dom0 as the management VM sees it, with what a test wants it to say. */
export class FakeDom0 implements Dom0Port {
  readonly board = new Map<JobId, Job>()
  /** What was called, in order: `backup work KEY`. */
  readonly calls: string[] = []
  readonly cosigned: CosignRequest[] = []
  /** Thrown by every call while set. */
  failure: Error | null = null
  ledgerPage: (from: number) => LedgerPage = () => {
    throw new Error('no ledger in this test')
  }
  /** Its TPM; `null`: it has none. */
  attestor: { answer(question: Question, signal: AbortSignal): Promise<Attested> } | null = null
  snapshotsOf: readonly SnapshotSummary[] = []
  state: ProfileState = {
    name: work,
    unreadSince: new Date('2026-11-12T00:00:00Z'),
    nextRun: null,
    alarms: [],
  }
  /** Whether a job goes on for a while after it was cancelled. */
  cancelsLater = false
  /** Of the machine; `undefined`: of a dom0 that tells none. */
  alarms: OfferedProfiles['alarms']
  /** Followers of `events`; ended by `endEvents`. */
  readonly #followers = new Set<(job: Job | null) => void>()
  #count = 0

  get followers(): number {
    return this.#followers.size
  }

  async backup(profile: ProfileName, key: IdempotencyKey, wanted: BackupWanted = {}): Promise<Job> {
    const said = Object.entries(wanted).filter(([, value]) => value !== undefined)
    return this.#order('backup', profile, key, said.map(([name, value]) => ` ${name}=${value}`).join(''))
  }
  async check(profile: ProfileName, key: IdempotencyKey, read: ReadChoice): Promise<Job> {
    return this.#order('check', profile, key, ` read=${read}`)
  }
  async scrub(profile: ProfileName, key: IdempotencyKey): Promise<Job> {
    return this.#order('scrub', profile, key)
  }
  async restore(
    profile: ProfileName,
    key: IdempotencyKey,
    snapshot: SnapshotId | null,
    choice: RestoreChoice,
  ): Promise<Job> {
    const whole = Object.values(choice).every(value => value === null || value.length === 0)
    const chosen = whole ? '' : ` choice=${JSON.stringify(choice)}`
    return this.#order('restore', profile, key, ` snapshot=${snapshot ?? 'newest'}${chosen}`)
  }

  async drill(profile: ProfileName, key: IdempotencyKey, snapshot: SnapshotId | null): Promise<Job> {
    return this.#order('drill', profile, key, ` snapshot=${snapshot ?? 'newest'}`)
  }

  async drillReport(id: JobId): Promise<{ readonly envelope: string }> {
    this.#called(`drillReport ${id}`)
    return { envelope: `{"of":"${this.#known(id).id}"}` }
  }

  async prune(profile: ProfileName, key: IdempotencyKey, dryRun: boolean): Promise<Job> {
    return this.#order('prune', profile, key, ` dryRun=${dryRun}`)
  }

  async hold(profile: ProfileName, snapshot: SnapshotId, until: Date): Promise<SnapshotSummary> {
    this.#called(`hold ${profile} ${snapshot} ${until.toISOString()}`)
    return { ...this.#snapshot(snapshot), keptBy: ['held'], heldUntil: until }
  }

  async endHold(profile: ProfileName, snapshot: SnapshotId): Promise<SnapshotSummary> {
    this.#called(`endHold ${profile} ${snapshot}`)
    return { ...this.#snapshot(snapshot), keptBy: [], heldUntil: null }
  }

  async cancel(id: JobId): Promise<Job> {
    this.#called(`cancel ${id}`)
    const job = this.#known(id)
    if (this.cancelsLater) return job
    return this.change(id, { state: 'cancelled', ended: new Date(job.ordered.getTime() + 1000) })
  }

  async jobs(): Promise<readonly Job[]> {
    this.#called('jobs')
    return [...this.board.values()].reverse()
  }

  async snapshots(profile: ProfileName): Promise<readonly SnapshotSummary[]> {
    this.#called(`snapshots ${profile}`)
    return this.snapshotsOf
  }

  async profiles(): Promise<OfferedProfiles> {
    this.#called('profiles')
    const configuration = { version: 3, digest: 'ab'.repeat(32) }
    return { configuration, profiles: [this.state], alarms: this.alarms }
  }

  async *events(profile: ProfileName, signal: AbortSignal): AsyncGenerator<Job> {
    this.#called(`events ${profile}`)
    const queue: (Job | null)[] = []
    let wake = () => {}
    const follower = (job: Job | null) => {
      queue.push(job)
      wake()
    }
    this.#followers.add(follower)
    signal.addEventListener('abort', () => wake())
    try {
      while (!signal.aborted) {
        const job = queue.shift()
        if (job === null) return
        if (job !== undefined) yield job
        else
          await new Promise<void>(resolve => {
            wake = resolve
            if (signal.aborted || queue.length > 0) resolve()
          })
      }
    } finally {
      this.#followers.delete(follower)
    }
  }

  async ledger(from: number): Promise<LedgerPage> {
    this.#called(`ledger ${from}`)
    return this.ledgerPage(from)
  }

  async cosign(cosignature: CosignRequest): Promise<void> {
    this.#called(`cosign ${cosignature.size}`)
    this.cosigned.push(cosignature)
  }

  async attest(question: Question, signal: AbortSignal): Promise<AttestAnswer> {
    this.#called('attest')
    return { attested: this.attestor && (await this.attestor.answer(question, signal)) }
  }

  /** Changes a job, and tells those who follow its profile. */
  change(id: JobId, change: Partial<Job>): Job {
    const job = { ...this.#known(id), ...change }
    this.board.set(id, job)
    for (const follower of this.#followers) follower(job)
    return job
  }

  endEvents(): void {
    for (const follower of this.#followers) follower(null)
  }

  #order(kind: JobKind, profile: ProfileName, key: IdempotencyKey, rest = ''): Job {
    this.#called(`${kind} ${profile} ${key}${rest}`)
    if (profile !== work) throw new EngineError('PROFILE_NOT_FOUND', `there is no profile '${profile}'`)
    const known = [...this.board.values()].find(job => job.key === key)
    if (known !== undefined) return known
    const id = parseJobId(`20261124T031500Z-${(++this.#count).toString(16).padStart(8, '0')}`)
    const job: Job = {
      id,
      profile,
      kind,
      state: 'waiting',
      initiator: parseVmName('sys-backup'),
      key,
      ordered: new Date('2026-11-24T03:15:00Z'),
      started: null,
      ended: null,
      progress: { phase: 'queued', bytesDone: 0, bytesTotal: 0, bytesStored: 0 },
      outcome: null,
      error: null,
    }
    this.board.set(id, job)
    return job
  }

  #snapshot(id: SnapshotId): SnapshotSummary {
    const found = this.snapshotsOf.find(({ snapshot }) => snapshot === id)
    if (found === undefined) throw new EngineError('SNAPSHOT_NOT_FOUND', `there is no snapshot ${id}`)
    return found
  }

  #known(id: JobId): Job {
    const job = this.board.get(id)
    if (job === undefined) throw new EngineError('JOB_NOT_FOUND', `there is no job '${id}'`)
    return job
  }

  #called(what: string): void {
    this.calls.push(what)
    if (this.failure !== null) throw this.failure
  }
}

/** How a finished job looks. */
export const finished: Partial<Job> = {
  state: 'done',
  started: new Date('2026-11-24T03:15:01Z'),
  ended: new Date('2026-11-24T03:15:43Z'),
  progress: { phase: 'ended', bytesDone: 3_000_000, bytesTotal: 3_000_000, bytesStored: 1_000_000 },
  outcome: {
    snapshot: 'cd'.repeat(32) as SnapshotId,
    bytes: 3_000_000,
    bytesStored: 1_000_000,
    volumes: 2,
    warnings: [],
    objects: undefined,
    snapshots: undefined,
    prune: undefined,
    drill: undefined,
  },
}

/** How a snapshot looks. */
export const summary: SnapshotSummary = {
  snapshot: 'cd'.repeat(32) as SnapshotId,
  job: parseJobId('20261124T031500Z-00000001'),
  time: new Date('2026-11-24T03:15:43Z'),
  entry: 7,
  epoch: 1,
  volumes: 2,
  bytes: 3_000_000,
  bytesStored: 1_000_000,
  keptBy: ['newest', 'daily'],
  heldUntil: null,
}
