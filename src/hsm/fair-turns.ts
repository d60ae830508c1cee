import { HsmError } from './errors.ts'

/** As many as one VM may hold connections (`src/qrexec/server.ts`): it is cut off there before it is told to wait here. */
const waitingOfOneMax = 32
const waitingMax = 64

/**
 * One at a time. Those who wait take turns by what they are for, so that many for one hold up another by one turn only; for the same
 * they go in the order in which they came.
 */
export class FairTurns {
  /** Who is next is first. */
  readonly #queues = new Map<string, (() => void)[]>()
  #waiting = 0
  #isTaken = false

  /** Throws `HSM_BUSY` when too many wait, or what `work` throws. */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    await this.#turn(key)
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  #turn(key: string): Promise<void> | undefined {
    if (!this.#isTaken) {
      this.#isTaken = true
      return
    }
    const queue = this.#queues.get(key) ?? []
    if (queue.length >= waitingOfOneMax || this.#waiting >= waitingMax)
      throw new HsmError('HSM_BUSY', `${this.#waiting} calls are waiting`, { retry: true })
    this.#waiting += 1
    this.#queues.set(key, queue)
    return new Promise(resolve => queue.push(resolve))
  }

  #next(): void {
    const [first] = this.#queues
    if (first === undefined) {
      this.#isTaken = false
      return
    }
    const [key, queue] = first
    this.#queues.delete(key)
    const go = queue.shift()
    if (queue.length > 0) this.#queues.set(key, queue)
    this.#waiting -= 1
    go?.()
  }
}
