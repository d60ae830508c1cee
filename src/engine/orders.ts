import { toHex } from '../base/bytes.ts'
import { newJobId } from '../base/environment.ts'
import { reportOf } from '../base/errors.ts'
import { type IdempotencyKey, type JobId, parseIdempotencyKey, type VmName } from '../base/names.ts'
import { requireConsistent, wholeSnapshot } from '../base/restore-choice.ts'
import { Serially } from '../base/serially.ts'
import type { Entry } from '../ledger/entry.ts'
import { mayOrder } from '../profiles/limits.ts'
import {
  hasEnded,
  type Job,
  type JobKind,
  type Outcome,
  type SnapshotSummary,
} from '../qrexec/calls/orders.ts'
import type { UploadShare } from '../storage/upload-budget.ts'
import { whenItMayBegin } from './beginning.ts'
import { disclosable } from './disclose.ts'
import { EngineError } from './errors.ts'
import { endHold, type HoldRequest, holdSnapshot } from './holds.ts'
import type { JobBoard } from './jobs.ts'
import { type Accepted, asSealed, type Order, placed, uploadLimit } from './order.ts'
import type { EnginePorts } from './ports.ts'
import { reporterOf } from './progress.ts'
import { requireRetention } from './prune.ts'
import { isRefusal, Refusals } from './refusals.ts'
import { hasRoom } from './room.ts'
import type { Task } from './task.ts'
import { Turns } from './turns.ts'
import { UnnamedPacks } from './unnamed-packs.ts'
import { type Commitment, work } from './work.ts'

interface Running {
  readonly controller: AbortController
  readonly ended: Promise<Job>
  readonly upload: UploadShare
  committing: boolean
  /** The order that came last. */
  order: Order
  /** All who ordered it. */
  readonly initiators: Set<VmName>
  /** Of these, the one whose room it takes. */
  initiator: VmName
  /** Waits to begin, and does not count as one that runs. */
  isHeldBack: boolean
}

/** An order, or a hold or its end. */
interface Refused extends Pick<Order, 'profile' | 'initiator'> {
  readonly kind: JobKind | 'hold' | 'hold-end'
}

/** Takes orders, runs jobs, and answers for them. One for a dom0. */
export class Orders {
  readonly #ports: EnginePorts
  readonly #board: JobBoard
  readonly #running = new Map<JobId, Running>()
  readonly #refusals: Refusals
  readonly #turns = new Turns()
  readonly #unnamedPacks = new UnnamedPacks()
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
      const accepted = await asSealed(this.#ports.configuration, order)
      await permit()
      this.#requireChoice(order)
      if (order.kind === 'prune') requireRetention(accepted.profile)
      const running = this.#board.running(order.profile, order.kind)
      if (running !== undefined) {
        if (order.ifRunning === 'join') return await this.#join(running.id, accepted)
        throw new EngineError('JOB_RUNNING', `job ${running.id} of profile '${order.profile}' is running`)
      }
      if (!hasRoom(this.#takenRoom(), order.initiator))
        throw new EngineError('ORDERS_BUSY', 'no other job may run for now', { retry: true })
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
      running.initiators.add(accepted.order.initiator)
      running.upload.limit(uploadLimit(accepted.profile, accepted.order))
    }
    return job
  }

  /** By those who have it. */
  #takenRoom(): readonly VmName[] {
    return [...this.#running.values()].filter(one => !one.isHeldBack).map(one => one.initiator)
  }

  /** For a job that was held back: of any who ordered it, so that whoever was first cannot keep another's from running. */
  #takeRoom(running: Running): boolean {
    const taken = this.#takenRoom()
    const found = [...running.initiators].find(one => hasRoom(taken, one))
    if (found !== undefined) running.initiator = found
    return found !== undefined
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
      initiators: new Set([order.initiator]),
      initiator: order.initiator,
      isHeldBack: false,
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
    const { upload } = running
    const { signal } = running.controller
    const { clock } = this.#ports.environment
    const { report, latest } = reporterOf(job.id, this.#board, clock, upload)
    let leave = () => {}
    try {
      const { accepted, isSlow } = await whenItMayBegin(this.#ports, ordered, {
        job,
        report,
        signal,
        upload,
        order: () => running.order,
        holdBack: isHeldBack => {
          running.isHeldBack = isHeldBack
        },
        takeRoom: () => this.#takeRoom(running),
      })
      const turn = await this.#turnOf(job, accepted.order, signal)
      leave = turn.leave
      const started = await this.#board.save({ ...job, state: 'running', started: clock.now() })
      const unnamedPacks = this.#unnamedPacks
      const task: Task = { ...turn.accepted, job: started, upload, report, signal, unnamedPacks }
      const outcome = await work(this.#ports, task, isSlow, this.#commitmentOf(running))
      return await this.#end(latest(), 'done', outcome, null)
    } catch (error) {
      const reason = signal.aborted ? signal.reason : error
      // Ours, not another VM's word of the same name.
      const cancelled = reason instanceof EngineError && reason.code === 'JOB_CANCELLED'
      if (!cancelled)
        this.#ports.log.error('job failed', { job: job.id, profile: job.profile, error: reason })
      return await this.#end(latest(), cancelled ? 'cancelled' : 'failed', null, disclosable(reason))
    } finally {
      leave()
      this.#running.delete(job.id)
    }
  }

  /** When it is its turn in the repositories of its profile: what is ordered as it is sealed by then. */
  async #turnOf(
    job: Job,
    order: Order,
    signal: AbortSignal,
  ): Promise<{ readonly accepted: Accepted; readonly leave: () => void }> {
    const leave = await this.#turns.enter(job.profile, job.kind === 'prune', signal)
    try {
      return { accepted: await asSealed(this.#ports.configuration, order), leave }
    } catch (error) {
      leave()
      throw error
    }
  }

  #commitmentOf(running: Running): Commitment {
    return {
      committing() {
        running.committing = true
      },
      decide: decision =>
        this.#decisions.run(async () => {
          running.controller.signal.throwIfAborted()
          running.committing = true
          try {
            return await decision()
          } finally {
            running.committing = false
          }
        }),
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
