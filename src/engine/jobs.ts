import { readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import {
  type IdempotencyKey,
  type JobId,
  type ProfileName,
  parseDigest,
  parseIdempotencyKey,
  parseVmName,
  type VmName,
} from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import { hasEnded, type Job, type JobKind, parseJob } from '../qrexec/calls/orders.ts'
import { EngineError } from './errors.ts'

const jobsKeptMax = 200
const recordBytesMax = 128 * 1024
/** Whoever joins a job over and over with new keys must not fill dom0's memory. */
const ordersOfJobMax = 64

const parsePlacedOrder = fields('order', {
  initiator: is.name(parseVmName),
  key: is.name(parseIdempotencyKey),
  wanted: is.name(parseDigest),
})
/**
 * An order that was answered with a job. `wanted` is a digest of all that was ordered, which the same order sent again
 * has too. Keys are their initiator's own, so that no VM can spoil another's by using it first.
 */
export type PlacedOrder = ReturnType<typeof parsePlacedOrder>

/** A job, and every order that was answered with it: the one that began it, and those that joined it. */
const parseRecord = fields('job record', {
  job: parseJob,
  orders: is.array(parsePlacedOrder, ordersOfJobMax),
})
export type JobRecord = ReturnType<typeof parseRecord>

/**
 * The jobs that dom0 knows: one file each, written at every change of state (not of progress), so that after a crash
 * dom0 knows what was running and which keys were used. Listeners hear every change.
 */
export class JobBoard {
  readonly #directory: string
  readonly #records = new Map<JobId, JobRecord>()
  readonly #listeners = new Set<(job: Job) => void>()
  /** A file has one writer at a time. */
  readonly #writing = new Serially()

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async open(directory: string): Promise<JobBoard> {
    await makePrivateDirectory(directory)
    const board = new JobBoard(directory)
    for (const file of (await readdir(directory)).sort()) {
      if (!file.endsWith('.json')) continue
      const untrustedBytes = await readBounded(path.join(directory, file), recordBytesMax)
      if (untrustedBytes === null) continue
      try {
        const record = untrustedBytes.parse(bytes =>
          parseRecord(parseJson(bytes, { bytesMax: recordBytesMax })),
        )
        board.#records.set(record.job.id, record)
      } catch (cause) {
        throw new EngineError('STATE_DAMAGED', `the record of job ${file} does not read`, { cause })
      }
    }
    return board
  }

  get(id: JobId): Job {
    return this.#record(id).job
  }

  /** Newest first. */
  list(): readonly Job[] {
    return [...this.#records.values()].map(({ job }) => job).sort((a, b) => (a.id < b.id ? 1 : -1))
  }

  /** The job that the order of this VM with this key was answered with, and that order. */
  byKey(initiator: VmName, key: IdempotencyKey): { job: Job; order: PlacedOrder } | undefined {
    for (const { job, orders } of this.#records.values()) {
      const order = orders.find(one => one.key === key && one.initiator === initiator)
      if (order !== undefined) return { job, order }
    }
    return undefined
  }

  running(profile: ProfileName, kind: JobKind): Job | undefined {
    return this.list().find(job => job.profile === profile && job.kind === kind && !hasEnded(job))
  }

  /** A new job, with the order that began it: durable before anyone hears of it. */
  create(job: Job, order: PlacedOrder): Promise<Job> {
    return this.#writing.run(() => this.#save({ job, orders: [order] }))
  }

  /** A change of state: durable before anyone hears of it. */
  save(job: Job): Promise<Job> {
    return this.#writing.run(() => this.#save({ job, orders: this.#ordersOf(job.id) }))
  }

  /** Another order that is answered with this job: durable when it resolves. Throws `JOB_RUNNING` when it has too many. */
  join(id: JobId, order: PlacedOrder): Promise<Job> {
    return this.#writing.run(async () => {
      const { job, orders } = this.#record(id)
      if (orders.length >= ordersOfJobMax)
        throw new EngineError('JOB_RUNNING', `job ${id} is running, and ${orders.length} orders share it`)
      const joined = [...orders, order]
      await this.#write({ job, orders: joined })
      // It may have gone on meanwhile, in progress only.
      const now = this.#record(id).job
      this.#records.set(id, { job: now, orders: joined })
      return now
    })
  }

  /** A change of progress only: told, not written. */
  touch(job: Job): void {
    this.#tell(job)
  }

  subscribe(listener: (job: Job) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #record(id: JobId): JobRecord {
    const record = this.#records.get(id)
    if (record === undefined) throw new EngineError('JOB_NOT_FOUND', `there is no job '${id}'`)
    return record
  }

  #ordersOf(id: JobId): JobRecord['orders'] {
    return this.#records.get(id)?.orders ?? []
  }

  async #save(record: JobRecord): Promise<Job> {
    await this.#write(record)
    this.#records.set(record.job.id, record)
    this.#tell(record.job)
    await this.#forgetOldest()
    return record.job
  }

  async #write(record: JobRecord): Promise<void> {
    await writeDurably(this.#file(record.job.id), utf8(JSON.stringify(record)))
  }

  #tell(job: Job): void {
    this.#records.set(job.id, { job, orders: this.#ordersOf(job.id) })
    for (const listener of this.#listeners)
      try {
        listener(job)
      } catch {
        // No one who listens may stop a job.
        this.#listeners.delete(listener)
      }
  }

  async #forgetOldest(): Promise<void> {
    const ended = this.list().filter(hasEnded)
    for (const { id } of ended.slice(jobsKeptMax)) {
      this.#records.delete(id)
      await unlink(this.#file(id)).catch(ignoreMissing)
    }
  }

  #file(id: JobId): string {
    return path.join(this.#directory, `${id}.json`)
  }
}
