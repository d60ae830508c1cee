import { readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { parseJson } from '../base/json.ts'
import type { IdempotencyKey, JobId, ProfileName } from '../base/names.ts'
import { hasEnded, type Job, type JobKind, parseJob } from '../qrexec/calls/orders.ts'
import { EngineError } from './errors.ts'

const jobsKeptMax = 200
const jobBytesMax = 64 * 1024

/**
 * The jobs that dom0 knows: one file each, written at every change of state (not of progress), so that after a crash
 * dom0 knows what was running. Listeners hear every change.
 */
export class JobBoard {
  readonly #directory: string
  readonly #jobs = new Map<JobId, Job>()
  readonly #listeners = new Set<(job: Job) => void>()

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async open(directory: string): Promise<JobBoard> {
    await makePrivateDirectory(directory)
    const board = new JobBoard(directory)
    for (const file of (await readdir(directory)).sort()) {
      if (!file.endsWith('.json')) continue
      const untrustedBytes = await readBounded(path.join(directory, file), jobBytesMax)
      if (untrustedBytes === null) continue
      try {
        const job = untrustedBytes.parse(bytes => parseJob(parseJson(bytes, { bytesMax: jobBytesMax })))
        board.#jobs.set(job.id, job)
      } catch (cause) {
        throw new EngineError('STATE_DAMAGED', `the record of job ${file} does not read`, { cause })
      }
    }
    return board
  }

  get(id: JobId): Job {
    const job = this.#jobs.get(id)
    if (job === undefined) throw new EngineError('JOB_NOT_FOUND', `there is no job '${id}'`)
    return job
  }

  /** Newest first. */
  list(): readonly Job[] {
    return [...this.#jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1))
  }

  byKey(key: IdempotencyKey): Job | undefined {
    return this.list().find(job => job.key === key)
  }

  running(profile: ProfileName, kind: JobKind): Job | undefined {
    return this.list().find(job => job.profile === profile && job.kind === kind && !hasEnded(job))
  }

  /** A change of state: durable before anyone hears of it. */
  async save(job: Job): Promise<Job> {
    await writeDurably(this.#file(job.id), utf8(JSON.stringify(job)))
    this.#tell(job)
    await this.#forgetOldest()
    return job
  }

  /** A change of progress only: told, not written. */
  touch(job: Job): void {
    this.#tell(job)
  }

  subscribe(listener: (job: Job) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #tell(job: Job): void {
    this.#jobs.set(job.id, job)
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
      this.#jobs.delete(id)
      await unlink(this.#file(id)).catch(ignoreMissing)
    }
  }

  #file(id: JobId): string {
    return path.join(this.#directory, `${id}.json`)
  }
}
