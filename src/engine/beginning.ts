import type { Milliseconds } from '../base/brand.ts'
import type { Job, JobPhase } from '../qrexec/calls/orders.ts'
import type { UploadShare } from '../storage/upload-budget.ts'
import { holdBack } from './holding-back.ts'
import { type Accepted, asSealed, type Order, uploadLimit } from './order.ts'
import type { EnginePorts } from './ports.ts'
import type { Task } from './task.ts'

/** From one look to the next, of a job that waits to begin. */
const lookMilliseconds: Milliseconds = 20_000

/** A job that has not begun yet. */
export interface Waiting extends Pick<Task, 'report' | 'signal'> {
  readonly job: Job
  readonly upload: Pick<UploadShare, 'limit'>
  /** The order that came last. */
  readonly order: () => Order
  /** Tells whether it waits, and so does not count as one that runs. */
  readonly holdBack: (isHeldBack: boolean) => void
  /** Of one that was held back: whether there is room for it, which it has then. */
  readonly takeRoom: () => boolean
}

export interface Beginning {
  readonly accepted: Accepted
  readonly isSlow: boolean
}

/**
 * What is ordered as it is sealed now, as soon as that lets it begin. A backup that was held back waits for room afterwards.
 * What has begun goes on whatever comes.
 */
export async function whenItMayBegin(
  ports: Pick<EnginePorts, 'environment' | 'power' | 'configuration'>,
  ordered: Accepted,
  waiting: Waiting,
): Promise<Beginning> {
  const { job, upload, signal } = waiting
  if (job.kind !== 'backup') return { accepted: ordered, isSlow: false }
  const { clock } = ports.environment
  const began = clock.monotonic()
  let wasHeldBack = false
  for (let accepted = ordered; ; accepted = await asSealed(ports.configuration, waiting.order())) {
    const { budget } = accepted.profile
    const power = budget.onBattery === 'run' ? 'mains' : await ports.power.now()
    signal.throwIfAborted()
    const metered = waiting.order().metered ?? false
    const reason = holdBack(budget, { power, metered, waited: clock.monotonic() - began })
    const phase: JobPhase | null = reason ?? (wasHeldBack && !waiting.takeRoom() ? 'queued' : null)
    wasHeldBack = phase !== null
    waiting.holdBack(wasHeldBack)
    upload.limit(uploadLimit(accepted.profile, waiting.order()))
    if (phase === null) return { accepted, isSlow: power === 'battery' && budget.onBattery === 'slow' }
    waiting.report({ phase, bytesDone: 0, bytesTotal: 0, bytesStored: 0 })
    await clock.sleep(lookMilliseconds, signal)
  }
}
