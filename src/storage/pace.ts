import type { Clock } from '../base/environment.ts'

const second = 1000

/** Keeps reads below a rate, whatever their sizes: each waits until those before it are paid for. */
export class Pace {
  readonly #clock: Clock
  readonly #bytesPerSecondMax: number | null
  #paid = Number.NEGATIVE_INFINITY

  /** `null`: no limit. */
  constructor(clock: Clock, bytesPerSecondMax: number | null) {
    this.#clock = clock
    this.#bytesPerSecondMax = bytesPerSecondMax
  }

  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#bytesPerSecondMax === null) return
    const now = this.#clock.monotonic()
    const free = Math.max(now, this.#paid)
    this.#paid = free + (second * bytes) / this.#bytesPerSecondMax
    if (free > now) await this.#clock.sleep(free - now, signal)
  }
}
