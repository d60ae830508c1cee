import type { Kysely } from 'kysely'
import { utf8 } from '../../base/bytes.ts'
import { parseJson } from '../../base/json.ts'
import type { JobId, ProfileName } from '../../base/names.ts'
import { type Job, parseJob } from '../../qrexec/calls/orders.ts'
import { ApiError } from '../errors.ts'
import type { Tables } from './tables.ts'

const bodyBytesMax = 64 * 1024
/** How many jobs are remembered; older ones are in the ledger. */
const jobsKeptMax = 50_000

export interface JobFilter {
  readonly profile?: ProfileName
  readonly countMax: number
}

/** Every job that dom0 was ever seen to report, as it was last seen. */
export class JobRecords {
  readonly #database: Kysely<Tables>

  constructor(database: Kysely<Tables>) {
    this.#database = database
  }

  async record(jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return
    const rows = jobs.map(job => ({
      id: job.id,
      profile: job.profile,
      kind: job.kind,
      state: job.state,
      ordered: job.ordered.getTime(),
      ended: job.ended?.getTime() ?? null,
      body: JSON.stringify(job),
    }))
    await this.#database
      .insertInto('job')
      .values(rows)
      .onConflict(conflict =>
        conflict
          .column('id')
          .doUpdateSet(row => ({
            state: row.ref('excluded.state'),
            ended: row.ref('excluded.ended'),
            body: row.ref('excluded.body'),
          }))
          // A job that has ended stays ended: an answer that was overtaken on its way must not revive it.
          .where('job.ended', 'is', null),
      )
      .execute()
    await this.#forgetOldest()
  }

  /** Newest first. */
  async list({ profile, countMax }: JobFilter): Promise<readonly Job[]> {
    let query = this.#database.selectFrom('job').select('body').orderBy('id', 'desc').limit(countMax)
    if (profile !== undefined) query = query.where('profile', '=', profile)
    return (await query.execute()).map(readJob)
  }

  async get(id: JobId): Promise<Job | null> {
    const row = await this.#database.selectFrom('job').select('body').where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : readJob(row)
  }

  /** The newest job of the given kinds and states of each profile. */
  async newest(kind: Job['kind'], states: readonly Job['state'][]): Promise<ReadonlyMap<string, Job>> {
    const rows = await this.#database
      .selectFrom('job')
      .select('body')
      .where('id', 'in', query =>
        query
          .selectFrom('job')
          .select(row => row.fn.max('id').as('id'))
          .where('kind', '=', kind)
          .where('state', 'in', states)
          .groupBy('profile'),
      )
      .execute()
    return new Map(rows.map(readJob).map(job => [job.profile, job]))
  }

  /** Not ended when last seen, oldest first. */
  async unfinished(): Promise<readonly Job[]> {
    const rows = await this.#database
      .selectFrom('job')
      .select('body')
      .where('ended', 'is', null)
      .orderBy('id')
      .execute()
    return rows.map(readJob)
  }

  /** For jobs of which dom0 no longer says how they ended: that is in the ledger, and not guessed here. */
  async forget(ids: readonly JobId[]): Promise<void> {
    if (ids.length > 0) await this.#database.deleteFrom('job').where('id', 'in', ids).execute()
  }

  async #forgetOldest(): Promise<void> {
    const oldest = await this.#database
      .selectFrom('job')
      .select('id')
      .orderBy('id', 'desc')
      .offset(jobsKeptMax)
      .limit(1)
      .executeTakeFirst()
    if (oldest !== undefined) await this.#database.deleteFrom('job').where('id', '<=', oldest.id).execute()
  }
}

function readJob({ body }: { body: string }): Job {
  try {
    return parseJob(parseJson(utf8(body), { bytesMax: bodyBytesMax }))
  } catch (cause) {
    throw new ApiError('CATALOGUE_DAMAGED', 'a job in the catalogue does not read', { cause })
  }
}
