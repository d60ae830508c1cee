/**
 * At most so many tasks at once. The first failure is kept and thrown by every `room` and `idle` after it, so that no
 * rejection goes unseen while the one who starts tasks is busy elsewhere.
 */
export class Lanes {
  readonly #max: number
  #running = 0
  #failure: { readonly error: unknown } | null = null
  #waiting: (() => void)[] = []

  constructor(max: number) {
    this.#max = max
  }

  /** Starts a task even when there is no room: the caller asks for `room` before it goes on. */
  start(task: () => Promise<void>): void {
    this.#running += 1
    task()
      .catch(error => this.fail(error))
      .finally(() => {
        this.#running -= 1
        this.#wake()
      })
  }

  /** Resolves when another task may start. */
  async room(): Promise<void> {
    await this.#until(() => this.#running < this.#max)
  }

  /** Resolves when all tasks have ended well. */
  async idle(): Promise<void> {
    await this.#until(() => this.#running === 0)
  }

  /** Resolves when all tasks have ended, well or not. */
  async settled(): Promise<void> {
    while (this.#running > 0) await this.#change()
  }

  /** Makes the waiting give up; running tasks go on until they notice by themselves. */
  fail(error: unknown): void {
    this.#failure ??= { error }
    this.#wake()
  }

  throwIfFailed(): void {
    if (this.#failure !== null) throw this.#failure.error
  }

  async #until(satisfied: () => boolean): Promise<void> {
    for (;;) {
      this.throwIfFailed()
      if (satisfied()) return
      await this.#change()
    }
  }

  #change(): Promise<void> {
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** Lets sockets, timers and aborts be served in the middle of work that waits for nothing. */
export function eventLoopTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
