import type { JobKind, JobState } from '../../qrexec/calls/orders.ts'

/*
 * What the management VM remembers. Nothing here is the truth: jobs and the ledger are dom0's, and an order is judged
 * there. Times are epoch milliseconds and whole numbers, flags 0 or 1, so that SQLite and PostgreSQL share the schema.
 */

export interface JobTable {
  id: string
  profile: string
  kind: JobKind
  state: JobState
  ordered: number
  ended: number | null
  /** The job as dom0 last reported it, JSON. */
  body: string
}

export interface ScheduleTable {
  profile: string
  calendar: string
  time_zone: string
  jitter_minutes: number
  catch_up: number
  enabled: number
  /** The calendar time up to which everything was dealt with; at first the time when the schedule was set. */
  last_run: number
  /** The next start, jitter included; null when there is none or the schedule is not enabled. */
  next_run: number | null
  /** Not before this time is an order tried again that could not reach dom0. */
  retry_after: number | null
  last_job: string | null
  failure_code: string | null
  failure_message: string | null
  failure_time: number | null
}

export interface WitnessTable {
  /** The origin line of the log. */
  origin: string
  size: number
  /** 64 hex digits. */
  root: string
  checkpoint: string
  seen: number
  alarm_code: string | null
  alarm_message: string | null
  alarm_time: number | null
}

/** What this VM keeps of dom0's ledger. */
export interface LedgerEntryTable {
  origin: string
  position: number
  /** The leaf in base64. */
  leaf: string
}

export interface Tables {
  ledger_entry: LedgerEntryTable
  job: JobTable
  schedule: ScheduleTable
  witness: WitnessTable
}
