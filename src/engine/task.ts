import type { Job, Progress } from '../qrexec/calls/orders.ts'
import type { UploadShare } from '../storage/upload-budget.ts'
import type { Accepted } from './order.ts'
import type { UnnamedPacks } from './unnamed-packs.ts'

/** A job that has begun: what was ordered as it was sealed then, and what its work is done with. */
export interface Task extends Accepted {
  readonly job: Job
  readonly upload: UploadShare
  readonly report: (progress: Progress) => void
  readonly signal: AbortSignal
  /** What jobs that run beside it have to know of each other. */
  readonly unnamedPacks: UnnamedPacks
}
