import { toHex, utf8 } from '../base/bytes.ts'
import { newJobId } from '../base/environment.ts'
import { reportOf } from '../base/errors.ts'
import {
  type IdempotencyKey,
  type JobId,
  type ProfileName,
  parseIdempotencyKey,
  repositoryOf,
  type SnapshotId,
  type VmName,
} from '../base/names.ts'
import { parseReadChoice, type ReadChoice } from '../base/read-choice.ts'
import { type RestoreChoice, requireConsistent, wholeSnapshot } from '../base/restore-choice.ts'
import { Serially } from '../base/serially.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { Entry, Purpose } from '../ledger/entry.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { HsmBinding } from '../profiles/config.ts'
import { mayOrder } from '../profiles/limits.ts'
import type { Profile } from '../profiles/profile.ts'
import {
  hasEnded,
  type Job,
  type JobKind,
  type JobPhase,
  type Outcome,
  type Progress,
  type SnapshotSummary,
} from '../qrexec/calls/orders.ts'
import type { Examination } from '../repository/examination.ts'
import { lowerLimit, type UploadShare } from '../storage/upload-budget.ts'
import { completeCommit, repositoryDirectory, runBackup } from './backup.ts'
import { runCheck } from './check.ts'
import { disclosable } from './disclose.ts'
import { EngineError } from './errors.ts'
import { holdBack } from './holding-back.ts'
import { endHold, type HoldRequest, holdSnapshot } from './holds.ts'
import type { JobBoard, PlacedOrder } from './jobs.ts'
import type { EnginePorts, SealedConfiguration } from './ports.ts'
import { requireRetention, runPrune } from './prune.ts'
import { isRefusal, Refusals } from './refusals.ts'
import { releasePassphrase } from './release.ts'
import { repositoryNow } from './repository-now.ts'
import { runScrub } from './scrub.ts'
import { Turns } from './turns.ts'

/** What is ordered. Names only; what they mean is in the sealed configuration. */
export interface Order {
  readonly kind: JobKind
  readonly profile: ProfileName
  readonly initiator: VmName
  readonly key: IdempotencyKey
  /** What to do when a job of this kind already runs for the profile: be given that job, or be refused. */
  readonly ifRunning: 'join' | 'refuse'
  /** check: the structure only when absent. */
  readonly read?: ReadChoice
  /** prune: only tell what would be done. */
  readonly dryRun?: boolean
  /** `null`: the newest. */
  readonly snapshot?: SnapshotId | null
  /** restore: all of the snapshot when absent. */
  readonly choice?: RestoreChoice
  /** backup: to send no faster than this, nor than the sealed profile allows. */
  readonly uploadBytesPerSecond?: number | undefined
  /** backup: the VM that orders says that the network is. */
  readonly metered?: boolean | undefined
}

const jobsAtOnceMax = 8
const progressIntervalMilliseconds = 500
/** From one look to the next, of a job that waits to begin. */
const lookMilliseconds = 20_000
/** The others send nothing to speak of. */
const sendingKinds: readonly JobKind[] = ['backup', 'prune']
const waitingPhases: readonly JobPhase[] = ['queued', 'battery', 'metered', 'passphrase']
const structureOnly = parseReadChoice('structure')

interface Running {
  readonly controller: AbortController
  readonly ended: Promise<Job>
  readonly upload: UploadShare
  committing: boolean
  /** The order that came last. */
  order: Order
  /** Waits to begin, and does not count as one that runs. */
  isHeldBack: boolean
  /** What the job has reported last, told or not. */
  latest: Progress | null
}

/** An order, or a hold or its end. */
interface Refused extends Pick<Order, 'profile' | 'initiator'> {
  readonly kind: JobKind | 'hold' | 'hold-end'
}

interface Accepted {
  readonly order: Order
  readonly profile: Profile
  readonly binding: HsmBinding
  readonly configuration: SealedConfiguration
}

interface Beginning {
  readonly accepted: Accepted
  readonly isSlow: boolean
}

/** Takes orders, runs jobs, and answers for them. One for a dom0. */
export class Orders {
  readonly #ports: EnginePorts
  readonly #board: JobBoard
  readonly #running = new Map<JobId, Running>()
  readonly #refusals: Refusals
  readonly #turns = new Turns()
  /** Holds come before a prune decides, or after it has. */
  readonly #decisions = new Serially()
  /** Orders are judged one after another, so that two at the same moment cannot both be the first. */
  readonly #gate = new Serially()

  constructor(ports: EnginePorts, board: JobBoard) {
    this.#ports = ports
    this.#board = board
    this.#refusals = new Refusals(ports)
  }

  get board(): JobBoard {
    return this.#board
  }

  /** Ends what a crash left open. To be called once, before the first order. */
  async recover(): Promise<void> {
    for (const job of this.#board.list().filter(one => !hasEnded(one))) {
      const error = reportOf(new EngineError('JOB_INTERRUPTED', 'dom0 stopped while the job was running'))
      await this.#end(job, 'failed', null, error)
    }
  }

  /**
   * The job of an accepted order, as soon as it is accepted and recorded. `permit` throws what else stands against it: a
   * refusal like any other.
   */
  order(order: Order, permit: () => Promise<void> = async () => {}): Promise<Job> {
    return this.#gate.run(() => this.#accept(order, permit))
  }

  hold(request: HoldRequest, until: Date): Promise<SnapshotSummary> {
    return this.#decide('hold', request, () => holdSnapshot(this.#ports, request, until))
  }

  endHold(request: HoldRequest): Promise<SnapshotSummary> {
    return this.#decide('hold-end', request, () => endHold(this.#ports, request))
  }

  /** Resolves with the job in its final state. */
  async ended(id: JobId): Promise<Job> {
    const job = this.#board.get(id)
    return hasEnded(job) ? job : ((await this.#running.get(id)?.ended) ?? this.#board.get(id))
  }

  cancel(id: JobId): Job {
    const job = this.#board.get(id)
    const running = this.#running.get(id)
    if (hasEnded(job) || running === undefined)
      throw new EngineError('JOB_ENDED', `job ${id} has already ended (${job.state})`)
    if (running.committing) throw new EngineError('JOB_COMMITTING', `job ${id} is writing into the ledger`)
    running.controller.abort(new EngineError('JOB_CANCELLED', `job ${id} was cancelled`))
    return job
  }

  /** Aborts all jobs and waits for their ends; for a stop of dom0. */
  async close(): Promise<void> {
    for (const [id, { controller }] of this.#running)
      controller.abort(new EngineError('JOB_INTERRUPTED', `dom0 is stopping; job ${id} is given up`))
    await Promise.allSettled([...this.#running.values()].map(({ ended }) => ended))
    await this.#refusals.flush()
  }

  newKey(): IdempotencyKey {
    return parseIdempotencyKey(toHex(this.#ports.environment.entropy.bytes(16)))
  }

  async #accept(order: Order, permit: () => Promise<void>): Promise<Job> {
    const id = newJobId(this.#ports.environment)
    await this.#refusals.recordHeld()
    try {
      const known = this.#board.byKey(order.initiator, order.key)
      if (known !== undefined) {
        if (known.order.wanted === placed(order).wanted) return known.job
        throw new EngineError('KEY_REUSED', 'the idempotency key belongs to another order')
      }
      const accepted = await this.#find(order)
      await permit()
      this.#requireChoice(order)
      if (order.kind === 'prune') requireRetention(accepted.profile)
      const running = this.#board.running(order.profile, order.kind)
      if (running !== undefined) {
        if (order.ifRunning === 'join') return await this.#join(running.id, accepted)
        throw new EngineError('JOB_RUNNING', `job ${running.id} of profile '${order.profile}' is running`)
      }
      if (this.#isBusy())
        throw new EngineError('ORDERS_BUSY', `${jobsAtOnceMax} jobs are running`, { retry: true })
      this.#requireWithinLimits(accepted)
      return await this.#start(id, accepted)
    } catch (error) {
      await this.#recordRefusal(id, order, error)
      throw error
    }
  }

  #decide<T>(kind: 'hold' | 'hold-end', request: HoldRequest, work: () => Promise<T>): Promise<T> {
    return this.#decisions.run(async () => {
      try {
        return await work()
      } catch (error) {
        await this.#recordRefusal(newJobId(this.#ports.environment), { kind, ...request }, error)
        throw error
      }
    })
  }

  async #find(order: Order): Promise<Accepted> {
    const configuration = await this.#ports.configuration.current()
    const profile = configuration.value.profiles.get(order.profile)
    const binding = configuration.value.bindings.get(order.profile)
    if (profile === undefined || binding === undefined)
      throw new EngineError('PROFILE_NOT_FOUND', `Backup profile does not exist: ${order.profile}`)
    return { order, profile, binding, configuration }
  }

  /** Only what was restored of the same profile: who may order another sees nothing of it. */
  #requireChoice({ profile, choice = wholeSnapshot }: Order): void {
    requireConsistent(choice)
    const { reuse } = choice
    const known = this.#ports.ledger
      .orders(profile)
      .some(({ kind, job }) => kind === 'restore' && job === reuse)
    if (reuse !== null && !known)
      throw new EngineError('JOB_NOT_FOUND', `profile '${profile}' has no restore '${reuse}'`)
  }

  /** The order that came last says how fast, and of the network. */
  async #join(id: JobId, accepted: Accepted): Promise<Job> {
    const job = await this.#board.join(id, placed(accepted.order))
    const running = this.#running.get(id)
    if (running !== undefined) {
      running.order = accepted.order
      running.upload.limit(uploadLimit(accepted.profile, accepted.order))
    }
    return job
  }

  #isBusy(): boolean {
    return [...this.#running.values()].filter(({ isHeldBack }) => !isHeldBack).length >= jobsAtOnceMax
  }

  #requireWithinLimits({ order, profile }: Accepted): void {
    if (order.kind !== 'backup') return
    const past = this.#ports.ledger
      .orders(order.profile)
      .filter(({ kind }) => kind === 'backup')
      .map(({ time }) => time)
    const verdict = mayOrder(profile.limits, past, this.#ports.environment.clock.now())
    if (!verdict.allowed) throw new EngineError('ORDER_LIMIT', verdict.reason)
  }

  async #start(id: JobId, accepted: Accepted): Promise<Job> {
    const { order, configuration } = accepted
    const now = this.#ports.environment.clock.now()
    const job: Job = {
      id,
      profile: order.profile,
      kind: order.kind,
      state: 'waiting',
      initiator: order.initiator,
      key: order.key,
      ordered: now,
      started: null,
      ended: null,
      progress: { phase: 'queued', bytesDone: 0, bytesTotal: 0, bytesStored: 0 },
      outcome: null,
      error: null,
    }
    const { promise, resolve } = Promise.withResolvers<Job>()
    const running: Running = {
      controller: new AbortController(),
      ended: promise,
      upload: this.#ports.uploads.share(),
      committing: false,
      order,
      isHeldBack: false,
      latest: null,
    }
    running.upload.limit(uploadLimit(accepted.profile, order))
    // Whoever hears of the job, which is from the next line on, may cancel it.
    this.#running.set(id, running)
    try {
      await this.#board.create(job, placed(order))
      await this.#ports.ledger.append([
        {
          type: 'order',
          time: now,
          job: id,
          profile: order.profile,
          kind: order.kind,
          initiator: order.initiator,
          configuration: configuration.digest,
        },
      ])
    } catch (error) {
      resolve(await this.#end(job, 'failed', null, disclosable(error)))
      this.#running.delete(id)
      throw error
    }
    void this.#run(job, accepted, running).then(resolve)
    return job
  }

  /** Never rejects: every way a job can end is a final state. */
  async #run(job: Job, ordered: Accepted, running: Running): Promise<Job> {
    let leave = () => {}
    try {
      const { accepted, isSlow } = await this.#mayBegin(job, ordered, running)
      const repository = repositoryOf(job.profile, accepted.binding.epoch)
      leave = await this.#turns.enter(repository, job.kind === 'prune', running.controller.signal)
      const started = await this.#board.save({
        ...job,
        state: 'running',
        started: this.#ports.environment.clock.now(),
      })
      const outcome = await this.#work(started, accepted, isSlow, running)
      return await this.#end(this.#atLast(job.id, running), 'done', outcome, null)
    } catch (error) {
      const reason = running.controller.signal.aborted ? running.controller.signal.reason : error
      const report = disclosable(reason)
      // Ours, not another VM's word of the same name.
      const cancelled = reason instanceof EngineError && reason.code === 'JOB_CANCELLED'
      if (!cancelled)
        this.#ports.log.error('job failed', { job: job.id, profile: job.profile, error: reason })
      const state = cancelled ? 'cancelled' : 'failed'
      return await this.#end(this.#atLast(job.id, running), state, null, report)
    } finally {
      leave()
      this.#running.delete(job.id)
    }
  }

  /**
   * What is ordered as it is sealed now, as soon as that lets it begin. One that waits does not count as one that runs, and
   * afterwards waits for room. What has begun goes on whatever comes.
   */
  async #mayBegin(job: Job, ordered: Accepted, running: Running): Promise<Beginning> {
    if (job.kind !== 'backup') return { accepted: ordered, isSlow: false }
    const { clock } = this.#ports.environment
    const { signal } = running.controller
    const report = this.#reporter(job.id, running)
    for (let accepted = ordered; ; accepted = await this.#find(running.order)) {
      const { budget } = accepted.profile
      const power = budget.onBattery === 'run' ? 'mains' : await this.#ports.power.now()
      signal.throwIfAborted()
      const metered = running.order.metered ?? false
      const reason = holdBack(budget, { power, metered, ordered: job.ordered, now: clock.now() })
      const phase = reason ?? (running.isHeldBack && this.#isBusy() ? 'queued' : null)
      running.isHeldBack = phase !== null
      running.upload.limit(uploadLimit(accepted.profile, running.order))
      if (phase === null) return { accepted, isSlow: power === 'battery' && budget.onBattery === 'slow' }
      report({ phase, bytesDone: 0, bytesTotal: 0, bytesStored: 0 })
      await clock.sleep(lookMilliseconds, signal)
    }
  }

  async #work(job: Job, accepted: Accepted, isSlow: boolean, running: Running): Promise<Outcome> {
    const { profile, binding, configuration } = accepted
    const { signal } = running.controller
    const report = this.#reporter(job.id, running)
    if (job.kind === 'backup') {
      const committing = () => {
        running.committing = true
      }
      const outcome = await runBackup(this.#ports, {
        job,
        profile,
        binding,
        configuration,
        upload: running.upload,
        isSlow,
        report,
        committing,
        signal,
      })
      await this.#ports.ledger
        .publish(profile.passphraseVm, signal)
        .catch(error =>
          this.#ports.log.warn('the HSM VM did not witness the new head', { job: job.id, error }),
        )
      return outcome
    }
    if (job.kind === 'scrub') return await runScrub(this.#ports, accepted, report, signal)
    if (job.kind === 'prune') return await this.#prune(job, accepted, running, report)
    return await this.#examine(job, accepted, running.upload, report, signal)
  }

  async #prune(
    job: Job,
    { order, profile, binding, configuration }: Accepted,
    running: Running,
    report: (progress: Progress) => void,
  ): Promise<Outcome> {
    const decide = <T>(work: () => Promise<T>) =>
      this.#decisions.run(async () => {
        running.controller.signal.throwIfAborted()
        running.committing = true
        try {
          return await work()
        } finally {
          running.committing = false
        }
      })
    const { signal } = running.controller
    const dryRun = order.dryRun ?? false
    const { upload } = running
    return runPrune(this.#ports, {
      job,
      profile,
      binding,
      configuration,
      upload,
      report,
      decide,
      dryRun,
      signal,
    })
  }

  async #examine(
    job: Job,
    { order, profile, binding, configuration }: Accepted,
    upload: UploadShare,
    report: (progress: Progress) => void,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const repository = repositoryOf(profile.name, binding.epoch)
    const directory = repositoryDirectory(this.#ports.directory, repository)
    {
      await using storage = await this.#ports.storage(profile.destinationVm, repository, upload, signal)
      await completeCommit(this.#ports, directory, storage, signal)
    }
    const history = repositoryNow(this.#ports, profile.name, binding.epoch)
    const purpose: Purpose = job.kind === 'restore' ? 'restore' : 'check'
    const snapshot = job.kind === 'restore' ? snapshotOf(history, order.snapshot ?? null) : null
    report({ phase: 'passphrase', bytesDone: 0, bytesTotal: 0, bytesStored: 0 })
    using passphrase = await releasePassphrase(
      this.#ports,
      { configuration, job, hsmVm: profile.passphraseVm, epoch: binding.epoch, purpose },
      signal,
    )
    const examination: Examination = {
      job: job.id,
      profile: profile.name,
      repository,
      storageVm: profile.destinationVm,
      history,
      passphrase,
    }
    // Awaited here: the passphrase ends with this block.
    return snapshot === null
      ? await runCheck(this.#ports, job, order.read ?? structureOnly, examination, report, signal)
      : await this.#ports.examiner.restore(
          examination,
          snapshot,
          order.choice ?? wholeSnapshot,
          report,
          signal,
        )
  }

  /** The job with the progress that came last, which may not have been told. */
  #atLast(id: JobId, { latest }: Running): Job {
    const job = this.#board.get(id)
    return { ...job, progress: latest ?? job.progress }
  }

  /** Progress is told at most twice a second, a change of phase at once. */
  #reporter(id: JobId, running: Running): (progress: Progress) => void {
    let last = Number.NEGATIVE_INFINITY
    let phase: Progress['phase'] | null = null
    return said => {
      const job = this.#board.get(id)
      const limit = sendingKinds.includes(job.kind) ? running.upload.bytesPerSecondMax : null
      const progress = limit === null ? said : { ...said, uploadBytesPerSecond: limit }
      running.latest = progress
      const now = this.#ports.environment.clock.monotonic()
      if (progress.phase === phase && now - last < progressIntervalMilliseconds) return
      last = now
      phase = progress.phase
      const state = waitingPhases.includes(progress.phase) ? 'waiting' : 'running'
      this.#board.touch({ ...job, state, progress })
    }
  }

  async #end(
    job: Job,
    result: 'done' | 'failed' | 'cancelled',
    outcome: Outcome | null,
    error: Job['error'],
  ): Promise<Job> {
    const ended = this.#ports.environment.clock.now()
    const entries: Entry[] = []
    const ofJob = { time: ended, job: job.id, profile: job.profile }
    if (error !== null && isRefusal(error))
      entries.push({ type: 'refusal', ...ofJob, code: error.code, alsoRefused: undefined })
    entries.push({ type: 'job', ...ofJob, kind: job.kind, result, code: error?.code ?? null })
    // The job has ended whatever the disk says; a ledger or board that cannot be written stops the next order.
    const unrecorded = (failure: unknown) =>
      this.#ports.log.error('the end of a job could not be recorded', { job: job.id, error: failure })
    await this.#ports.ledger.append(entries).catch(unrecorded)
    const { bytesDone, bytesTotal } = job.progress
    // A sandbox or a storage tells its steps now and then, and rarely the last.
    const done = result === 'done' ? bytesTotal : bytesDone
    const progress = { ...job.progress, bytesDone: done, phase: 'ended' as const }
    const final: Job = { ...job, state: result, ended, progress, outcome, error }
    await this.#board.save(final).catch(failure => {
      unrecorded(failure)
      this.#board.touch(final)
    })
    return final
  }

  async #recordRefusal(id: JobId, { profile, initiator, kind }: Refused, error: unknown): Promise<void> {
    const report = reportOf(error)
    const time = this.#ports.environment.clock.now()
    this.#ports.log.warn('order refused', { job: id, profile, initiator, kind, code: report.code })
    if (report.code === 'INTERNAL') return
    await this.#refusals.record({ time, job: id, profile, code: report.code })
  }
}

function uploadLimit({ budget }: Profile, { uploadBytesPerSecond, metered }: Order): number | null {
  return lowerLimit(
    budget.uploadBytesPerSecond,
    uploadBytesPerSecond ?? null,
    metered ? budget.meteredBytesPerSecond : null,
  )
}

/** Everything that an order says beside who sent it counts as what is wanted, whatever fields it has. */
function placed({ initiator, key, ifRunning: _, ...wanted }: Order): PlacedOrder {
  const said = Object.entries(wanted).filter(([, value]) => value !== undefined)
  const text = JSON.stringify(said.sort(([one], [other]) => (one < other ? -1 : 1)))
  return { initiator, key, wanted: sha256Hex(utf8(text)) }
}

function snapshotOf({ snapshots }: RepositoryHistory, wanted: SnapshotId | null): SnapshotId {
  const found = wanted === null ? snapshots.at(-1) : snapshots.find(one => one.snapshotId === wanted)
  if (found === undefined)
    throw new EngineError(
      'SNAPSHOT_NOT_FOUND',
      wanted === null ? 'the ledger has no snapshot of this profile' : `the ledger has no snapshot ${wanted}`,
    )
  return found.snapshotId
}
