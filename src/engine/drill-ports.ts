import type { LevelResult, LevelVerdict } from '../base/drill-levels.ts'
import type { BootRule, DrillRules } from '../base/drill-rules.ts'
import type { Digest, JobId } from '../base/names.ts'
import type { ExaminationOrder, Examined } from '../drill/examine.ts'
import type { DrillRooms } from '../host/drill-rooms.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import type { Job } from '../qrexec/calls/orders.ts'
import type { Restorer } from '../repository/examination.ts'

export type DrilledSnapshot = Recorded<'snapshot'>

/** In milliseconds. */
export interface RestoreTimes {
  /** From the order to the last volume: whatever was waited for would be waited for. */
  readonly fromOrder: number
  /** While volumes were restored. */
  readonly milliseconds: number
}

/** What a drill found, for its report. */
export interface DrillFacts {
  readonly job: Job
  /** Digest of the sealed configuration that has the rules. */
  readonly configuration: Digest
  readonly history: RepositoryHistory
  readonly snapshot: DrilledSnapshot
  readonly rules: DrillRules
  readonly began: Date
  readonly ended: Date
  readonly result: LevelResult
  readonly levels: readonly LevelVerdict[]
  readonly tools: readonly string[]
  /** `null`: not all was restored. */
  readonly restored: RestoreTimes | null
}

/** What restore drills need of the host. */
export interface DrillPorts extends Restorer {
  readonly rooms: DrillRooms
  /** In a sandbox without network that is thrown away. Never throws for what a volume holds: that is in the verdict. */
  examine(order: ExaminationOrder, signal: AbortSignal): Promise<Examined>
  /** In a virtual machine that is thrown away. Never throws for what a volume holds. `null`: this host has none. */
  readonly boot: ((rule: BootRule, job: JobId, signal: AbortSignal) => Promise<LevelVerdict>) | null
  /** Signs and keeps it; durable when it resolves. SHA-256 of what is kept. */
  report(facts: DrillFacts): Promise<Digest>
  /** The signed report of a job; `null`: there is none. */
  readReport(job: JobId): Promise<string | null>
}
