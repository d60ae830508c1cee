import type { Clock } from '../../src/base/environment.ts'

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/** Time that goes on only as the test says, from one sleeper's end to the next. */
export class SteppedClock implements Clock {
  #now: number
  #ahead = 0
  #sleepers: Sleeper[] = []

  constructor(begin = '2026-11-24T00:00:00Z') {
    this.#now = Date.parse(begin)
  }

  now(): Date {
    return new Date(this.time)
  }

  /** What the clock says, in milliseconds since 1970. Whoever sets it lets no time pass. */
  get time(): number {
    return this.#now + this.#ahead
  }

  set time(milliseconds: number) {
    this.#ahead = milliseconds - this.#now
  }

  monotonic(): number {
    return this.#now
  }

  sleep(duration: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const abort = () => {
        this.#sleepers = this.#sleepers.filter(one => one !== sleeper)
        reject(signal?.reason)
      }
      const wake = () => {
        signal?.removeEventListener('abort', abort)
        resolve()
      }
      const sleeper = { at: this.#now + duration, wake }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  get sleeping(): number {
    return this.#sleepers.length
  }

  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds
    for (;;) {
      await settled()
      const [next] = this.#sleepers.toSorted((one, other) => one.at - other.at)
      if (next === undefined || next.at > end) break
      this.#now = next.at
      this.#sleepers = this.#sleepers.filter(one => one !== next)
      next.wake()
    }
    this.#now = end
  }
}

/** All that waits for nothing but other code has gone on. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
}
