import type { Milliseconds } from '../base/brand.ts'
import type { Power } from '../host/power.ts'
import type { Budget } from '../profiles/budget.ts'
import type { JobPhase } from '../qrexec/calls/orders.ts'
import { EngineError } from './errors.ts'

const hour: Milliseconds = 3_600_000

/** What the sealed profile looks at before a backup begins. */
export interface Circumstances {
  readonly power: Power
  /** The word of the last VM that ordered: it can make a backup wait, as long as the profile says, and no longer. */
  readonly metered: boolean
  /** Since its order, by a clock that nobody sets. */
  readonly waited: Milliseconds
}

/**
 * What a backup waits for; `null`: for nothing. Throws `BACKUP_HELD_BACK` when it waited as long as it may, and the
 * profile says that it then fails.
 */
export function holdBack(
  budget: Budget,
  circumstances: Circumstances,
): Extract<JobPhase, 'battery' | 'metered'> | null {
  const { power, metered, waited } = circumstances
  const phase =
    power === 'battery' && budget.onBattery === 'wait'
      ? 'battery'
      : metered && budget.onMetered === 'wait'
        ? 'metered'
        : null
  if (phase === null || waited < budget.waitHoursMax * hour) return phase
  if (budget.afterWait === 'run') return null
  const why = phase === 'battery' ? 'the machine runs on battery' : 'the network is said to be metered'
  throw new EngineError(
    'BACKUP_HELD_BACK',
    `${why}, and the backup has waited for ${budget.waitHoursMax} hours`,
  )
}
