import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import type { JobId } from '../base/names.ts'
import type { Job, JobKind, JobPhase, Progress } from '../qrexec/calls/orders.ts'
import type { UploadShare } from '../storage/upload-budget.ts'
import type { JobBoard } from './jobs.ts'

const intervalMilliseconds: Milliseconds = 500
/** The others send nothing to speak of. */
const sendingKinds: readonly JobKind[] = ['backup', 'prune']
const waitingPhases: readonly JobPhase[] = ['queued', 'battery', 'metered', 'passphrase', 'approval']

export interface Reporter {
  /** Tells the board, at most twice a second, a change of phase at once. */
  readonly report: (progress: Progress) => void
  /** The job with the progress that came last, which may not have been told. */
  readonly latest: () => Job
}

/** Of one job. */
export function reporterOf(
  id: JobId,
  board: Pick<JobBoard, 'get' | 'touch'>,
  clock: Pick<Clock, 'monotonic'>,
  upload: Pick<UploadShare, 'bytesPerSecondMax'>,
): Reporter {
  let told = Number.NEGATIVE_INFINITY
  let phase: JobPhase | null = null
  let latest: Progress | null = null
  return {
    report(said) {
      const job = board.get(id)
      const limit = sendingKinds.includes(job.kind) ? upload.bytesPerSecondMax : null
      latest = limit === null ? said : { ...said, uploadBytesPerSecond: limit }
      const now = clock.monotonic()
      if (latest.phase === phase && now - told < intervalMilliseconds) return
      told = now
      phase = latest.phase
      const state = waitingPhases.includes(phase) ? 'waiting' : 'running'
      board.touch({ ...job, state, progress: latest })
    },
    latest() {
      const job = board.get(id)
      return { ...job, progress: latest ?? job.progress }
    },
  }
}
