import type { Job } from '../qrexec/calls/orders.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { Dom0Port } from './dom0.ts'

/** Carries what dom0 reports of its jobs into the catalogue, which remembers them for longer. */
export class JobHistory {
  readonly #dom0: Dom0Port
  readonly #catalogue: Catalogue

  constructor(dom0: Dom0Port, catalogue: Catalogue) {
    this.#dom0 = dom0
    this.#catalogue = catalogue
  }

  async refresh(signal: AbortSignal): Promise<readonly Job[]> {
    // Read before dom0 is asked: a job ordered meanwhile is in neither list and must not look lost.
    const unfinished = await this.#catalogue.jobs.unfinished()
    const reported = await this.#dom0.jobs(signal)
    await this.#catalogue.jobs.record(reported)
    const known = new Set(reported.map(job => job.id))
    await this.#catalogue.jobs.forget(unfinished.map(job => job.id).filter(id => !known.has(id)))
    return reported
  }

  async record(job: Job): Promise<Job> {
    await this.#catalogue.jobs.record([job])
    return job
  }
}
