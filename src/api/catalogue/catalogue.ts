import { type Dialect, Kysely } from 'kysely'
import { Migrator } from 'kysely/migration'
import { ApiError } from '../errors.ts'
import { JobRecords } from './job-records.ts'
import { migrations } from './migrations.ts'
import { ScheduleRecords } from './schedule-records.ts'
import type { Tables } from './tables.ts'
import { WitnessRecords } from './witness-records.ts'

/** The management VM's own memory, one part a table. */
export class Catalogue implements AsyncDisposable {
  readonly jobs: JobRecords
  readonly schedules: ScheduleRecords
  readonly witness: WitnessRecords
  readonly #database: Kysely<Tables>

  private constructor(database: Kysely<Tables>) {
    this.#database = database
    this.jobs = new JobRecords(database)
    this.schedules = new ScheduleRecords(database)
    this.witness = new WitnessRecords(database)
  }

  /** Opens and brings the schema up to date. Throws `CATALOGUE_DAMAGED`. */
  static async open(makeDialect: () => Dialect): Promise<Catalogue> {
    const database = openDatabase(makeDialect)
    const { error } = await new Migrator({ db: database, provider: migrations }).migrateToLatest()
    if (error !== undefined) {
      await database.destroy()
      throw damaged(error)
    }
    return new Catalogue(database)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#database.destroy()
  }
}

function openDatabase(makeDialect: () => Dialect): Kysely<Tables> {
  try {
    return new Kysely<Tables>({ dialect: makeDialect() })
  } catch (cause) {
    throw damaged(cause)
  }
}

function damaged(cause: unknown): ApiError {
  return new ApiError('CATALOGUE_DAMAGED', 'the catalogue does not open', { cause })
}
