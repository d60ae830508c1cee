import type { Clock } from '../base/environment.ts'
import { Pace } from './pace.ts'

/**
 * What all jobs of a dom0 may send. A job has one piece at a time on its way, and pieces go in the order in which they
 * come: jobs that have something to send have equal shares, and what a job does not need is the others'.
 */
export class UploadBudget {
  readonly #clock: Clock
  readonly #all: Pace

  /** `null`: no limit. */
  constructor(clock: Clock, bytesPerSecondMax: number | null) {
    this.#clock = clock
    this.#all = new Pace(clock, bytesPerSecondMax)
  }

  share(): UploadShare {
    return new UploadShare(this.#clock, this.#all)
  }
}

/** What one job may send. */
export class UploadShare {
  readonly #clock: Clock
  readonly #all: Pace
  #own: Pace

  constructor(clock: Clock, all: Pace) {
    this.#clock = clock
    this.#all = all
    this.#own = new Pace(clock, null)
  }

  /** The limit that counts, be it this job's or that of all; `null`: none. */
  get bytesPerSecondMax(): number | null {
    return lowerLimit(this.#own.bytesPerSecondMax, this.#all.bytesPerSecondMax)
  }

  /** From the next piece on; `null`: no limit but that of all jobs. */
  limit(bytesPerSecondMax: number | null): void {
    if (bytesPerSecondMax !== this.#own.bytesPerSecondMax)
      this.#own = new Pace(this.#clock, bytesPerSecondMax)
  }

  /** Resolves when so many bytes may be sent. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    await this.#own.take(bytes, signal)
    await this.#all.take(bytes, signal)
  }
}

export function lowerLimit(...limits: readonly (number | null)[]): number | null {
  const given = limits.filter(limit => limit !== null)
  return given.length === 0 ? null : Math.min(...given)
}
