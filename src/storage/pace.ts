import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'

const second: Milliseconds = 1000
/** Timers are late: what a wait was longer than it should have been is made up for. What was idle for longer is not. */
const lateMax: Milliseconds = 100

/** Keeps what is taken below a rate, whatever the sizes: each waits until those before it are paid for. */
export class Pace {
  readonly bytesPerSecondMax: number | null
  readonly #clock: Clock
  #paid = Number.NEGATIVE_INFINITY

  /** `null`: no limit. */
  constructor(clock: Clock, bytesPerSecondMax: number | null) {
    this.#clock = clock
    this.bytesPerSecondMax = bytesPerSecondMax
  }

  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.bytesPerSecondMax === null) return
    const now = this.#clock.monotonic()
    const free = now - this.#paid > lateMax ? now : this.#paid
    this.#paid = free + (second * bytes) / this.bytesPerSecondMax
    if (free > now) await this.#clock.sleep(free - now, signal)
  }
}
