import type { Kysely, Selectable } from 'kysely'
import { type JobId, type ProfileName, parseJobId, parseProfileName } from '../../base/names.ts'
import type { ScheduleTable, Tables } from './tables.ts'

/** What a person sets. */
export interface ScheduleSetting {
  /** systemd calendar expression. */
  readonly calendar: string
  /** IANA name. */
  readonly timeZone: string
  readonly jitterMinutes: number
  /** One run is made up for after an outage, however many were missed. */
  readonly catchUp: boolean
  readonly enabled: boolean
}

export interface ScheduleFailure {
  readonly code: string
  readonly message: string
  readonly time: Date
}

export interface Schedule extends ScheduleSetting {
  readonly profile: ProfileName
  readonly lastRun: Date
  readonly nextRun: Date | null
  readonly retryAfter: Date | null
  readonly lastJob: JobId | null
  /** Why the last due run gave no job; null after one that did. */
  readonly failure: ScheduleFailure | null
}

/** What a scheduler may change. */
export type ScheduleProgress = Pick<Schedule, 'lastRun' | 'nextRun' | 'retryAfter' | 'lastJob' | 'failure'>

export class ScheduleRecords {
  readonly #database: Kysely<Tables>

  constructor(database: Kysely<Tables>) {
    this.#database = database
  }

  async list(): Promise<readonly Schedule[]> {
    const rows = await this.#database.selectFrom('schedule').selectAll().orderBy('profile').execute()
    return rows.map(readSchedule)
  }

  async get(profile: ProfileName): Promise<Schedule | null> {
    const row = await this.#database
      .selectFrom('schedule')
      .selectAll()
      .where('profile', '=', profile)
      .executeTakeFirst()
    return row === undefined ? null : readSchedule(row)
  }

  /** Replaces the setting. Due times count from `since`: a new setting never makes up for the past. */
  async set(
    profile: ProfileName,
    setting: ScheduleSetting,
    since: Date,
    nextRun: Date | null,
  ): Promise<void> {
    const columns = {
      calendar: setting.calendar,
      time_zone: setting.timeZone,
      jitter_minutes: setting.jitterMinutes,
      catch_up: Number(setting.catchUp),
      enabled: Number(setting.enabled),
      last_run: since.getTime(),
      next_run: nextRun?.getTime() ?? null,
      retry_after: null,
      failure_code: null,
      failure_message: null,
      failure_time: null,
    }
    await this.#database
      .insertInto('schedule')
      .values({ profile, last_job: null, ...columns })
      .onConflict(conflict => conflict.column('profile').doUpdateSet(columns))
      .execute()
  }

  /** False when the schedule was changed or removed meanwhile: then nothing is written. */
  async advance(before: Schedule, progress: ScheduleProgress): Promise<boolean> {
    const result = await this.#database
      .updateTable('schedule')
      .set({
        last_run: progress.lastRun.getTime(),
        next_run: progress.nextRun?.getTime() ?? null,
        retry_after: progress.retryAfter?.getTime() ?? null,
        last_job: progress.lastJob,
        failure_code: progress.failure?.code ?? null,
        failure_message: progress.failure?.message ?? null,
        failure_time: progress.failure?.time.getTime() ?? null,
      })
      .where('profile', '=', before.profile)
      .where('last_run', '=', before.lastRun.getTime())
      .where('calendar', '=', before.calendar)
      .executeTakeFirst()
    return result.numUpdatedRows > 0n
  }

  async remove(profile: ProfileName): Promise<boolean> {
    const result = await this.#database
      .deleteFrom('schedule')
      .where('profile', '=', profile)
      .executeTakeFirst()
    return result.numDeletedRows > 0n
  }
}

function readSchedule(row: Selectable<ScheduleTable>): Schedule {
  return {
    profile: parseProfileName(row.profile),
    calendar: row.calendar,
    timeZone: row.time_zone,
    jitterMinutes: row.jitter_minutes,
    catchUp: row.catch_up === 1,
    enabled: row.enabled === 1,
    lastRun: new Date(row.last_run),
    nextRun: time(row.next_run),
    retryAfter: time(row.retry_after),
    lastJob: row.last_job === null ? null : parseJobId(row.last_job),
    failure:
      row.failure_code === null || row.failure_time === null
        ? null
        : { code: row.failure_code, message: row.failure_message ?? '', time: new Date(row.failure_time) },
  }
}

function time(milliseconds: number | null): Date | null {
  return milliseconds === null ? null : new Date(milliseconds)
}
