import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import { reportOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Alarm } from '../qrexec/calls/orders.ts'

const lookMilliseconds: Milliseconds = 60_000

export interface SealedWatchPorts {
  /** Verifies the store as it is on the disk; throws what is wrong with it. */
  readonly recheck: () => Promise<void>
  /** Calls `moved` when something may have changed there. */
  readonly watch: (moved: () => void) => Disposable
  readonly clock: Clock
  readonly log: Log
}

/**
 * Looks at the sealed store at every order, when something moves there, and now and then. While it does not verify, nothing
 * new is ordered; what runs goes on by what was verified. That it did not verify once is told until dom0 starts anew, also
 * if somebody has put it right.
 */
export class SealedWatch {
  readonly #ports: SealedWatchPorts
  #first: Alarm | null = null
  #isWrong = false

  constructor(ports: SealedWatchPorts) {
    this.#ports = ports
  }

  /** The first time that it did not verify. */
  get alarm(): Alarm | null {
    return this.#first
  }

  /** Throws what is wrong with the store now. */
  async look(): Promise<void> {
    const { recheck, clock, log } = this.#ports
    try {
      await recheck()
    } catch (error) {
      if (!this.#isWrong) log.error('the sealed store does not verify: nothing is ordered', { error })
      this.#isWrong = true
      const { code, message } = reportOf(error)
      this.#first ??= { code, message: alarmText(message), time: clock.now() }
      throw error
    }
    if (this.#isWrong) log.warn('the sealed store verifies again')
    this.#isWrong = false
  }

  /** Until `signal`; nothing that is found ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { watch, clock } = this.#ports
    let wake = new AbortController()
    using _ = watch(() => wake.abort())
    while (!signal.aborted) {
      // Before the look: what moves while it looks is looked at once more.
      wake = new AbortController()
      await this.look().catch(() => {})
      await clock.sleep(lookMilliseconds, AbortSignal.any([signal, wake.signal])).catch(() => {})
    }
  }
}

const messageLengthMax = 400

function alarmText(message: string): string {
  return `the sealed store did not verify: ${message}`.slice(0, messageLengthMax)
}
