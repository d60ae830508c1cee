import { readdir, rm, stat, utimes } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../base/environment.ts'
import { ignoreMissing, makePrivateDirectory, syncDirectory } from '../../base/files.ts'
import type { Log } from '../../base/log.ts'
import type { JobId, SnapshotId } from '../../base/names.ts'
import { Serially } from '../../base/serially.ts'
import { HostError } from '../errors.ts'
import type { VolumeSink } from '../volumes.ts'
import { localVolumeSink } from './volume-sink.ts'

/*
 * The directory of everything that was restored: plaintext.
 *
 *   <job>/                  a finished restore; the user's to take out and remove
 *   .restore-<snapshot>/    one that is being made, or was interrupted: the next of this snapshot goes on with it
 *   .restore-<job>/         one that is being made and that nobody can go on with
 */

const unfinishedPrefix = '.restore-'
const resumable = /^\.restore-[0-9a-f]{64}$/
/** Interrupted restores are kept for another order, but neither many nor for long: nobody may come. */
const unfinishedMax = 4
const unfinishedMillisecondsMax = 7 * 24 * 3_600_000

export interface NewRestore {
  readonly job: JobId
  readonly snapshot: SnapshotId
  /** Whether another restore of the snapshot may go on with it. At most one such of a snapshot is made at a time. */
  readonly resumable: boolean
  readonly reuse: JobId | null
}

export interface RestoresPorts {
  readonly directory: string
  readonly clock: Clock
  readonly log: Log
}

export class LocalRestores {
  readonly #ports: RestoresPorts
  /** Working directories of restores that are being made. */
  readonly #busy = new Set<string>()
  /** One after another: whoever begins waits until what is being removed is gone. */
  readonly #tidying = new Serially()

  private constructor(ports: RestoresPorts) {
    this.#ports = ports
  }

  /** Makes the directory, and removes what restores that died with an earlier process have left and nobody can go on with. */
  static async open(ports: RestoresPorts): Promise<LocalRestores> {
    await makePrivateDirectory(ports.directory)
    const restores = new LocalRestores(ports)
    const kept = await restores.#tidy(unfinishedMax)
    if (kept.length > 0) ports.log.info('interrupted restores are kept, to be gone on with', { kept })
    return restores
  }

  /** Finished restores, and those that are being made. */
  async count(): Promise<number> {
    const finished = (await readdir(this.#ports.directory)).filter(name => !name.startsWith(unfinishedPrefix))
    return finished.length + this.#busy.size
  }

  /** Throws `RESTORE_MISSING`. */
  async begin({ job, snapshot, resumable, reuse }: NewRestore): Promise<VolumeSink> {
    const { directory } = this.#ports
    const name = `${unfinishedPrefix}${resumable ? snapshot : job}`
    this.#busy.add(name)
    try {
      await this.#tidy(unfinishedMax - 1)
      const sink = localVolumeSink({
        directory: path.join(directory, job),
        beside: path.join(directory, name),
        resumable,
        reuse: reuse === null ? null : await this.#finished(reuse),
      })
      return this.#leaving(name, sink)
    } catch (error) {
      this.#busy.delete(name)
      throw error
    }
  }

  #leaving(name: string, sink: VolumeSink): VolumeSink {
    const { directory, clock, log } = this.#ports
    return {
      create: sink.create.bind(sink),
      commit: sink.commit.bind(sink),
      discard: sink.discard.bind(sink),
      [Symbol.asyncDispose]: async () => {
        try {
          await sink[Symbol.asyncDispose]()
        } finally {
          this.#busy.delete(name)
        }
        if (!(await readdir(directory)).includes(name)) return
        // How long it is kept counts from here.
        await utimes(path.join(directory, name), clock.now(), clock.now())
        log.info('an interrupted restore is kept, to be gone on with', { kept: name })
      },
    }
  }

  async #finished(job: JobId): Promise<string> {
    const directory = path.join(this.#ports.directory, job)
    const found = await stat(directory).catch(ignoreMissing)
    if (found?.isDirectory()) return directory
    throw new HostError('RESTORE_MISSING', `no restore ${job} in ${this.#ports.directory}`)
  }

  /** Removes what nobody can go on with, what is too old, and all but the newest `max`; which of them stay. */
  #tidy(max: number): Promise<readonly string[]> {
    return this.#tidying.run(() => this.#tidyAlone(max))
  }

  async #tidyAlone(max: number): Promise<readonly string[]> {
    const { directory, clock, log } = this.#ports
    const idle = (await readdir(directory)).filter(
      name => name.startsWith(unfinishedPrefix) && !this.#busy.has(name),
    )
    const times = await Promise.all(
      idle.map(async name => ({ name, time: (await stat(path.join(directory, name))).mtimeMs })),
    )
    const oldest = clock.now().getTime() - unfinishedMillisecondsMax
    const kept = times
      .filter(({ name, time }) => resumable.test(name) && time > oldest)
      .sort((one, other) => other.time - one.time)
      .slice(0, max)
      .map(({ name }) => name)
    const removed: string[] = []
    for (const name of idle) {
      // A restore may have begun on it since the look around.
      if (kept.includes(name) || this.#busy.has(name)) continue
      await rm(path.join(directory, name), { recursive: true, force: true })
      removed.push(name)
    }
    if (removed.length > 0) {
      await syncDirectory(directory)
      log.warn('interrupted restores have been removed', { removed })
    }
    return kept
  }
}
