import { HsmError } from './errors.ts'

/**
 * So many calls at once; those that come later wait, up to a number, in the order in which they came. Who is aborted gives its
 * place up.
 */
export class Places {
  readonly #waiting: (() => void)[] = []
  readonly #waitingMax: number
  #free: number

  constructor(count: number, waitingMax: number) {
    this.#free = count
    this.#waitingMax = waitingMax
  }

  /** Throws `HSM_BUSY`, or the reason of `signal` when it comes first. */
  async use<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#wait(signal)
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free += 1
      else next()
    }
  }

  #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax)
      throw new HsmError('HSM_BUSY', `${this.#waitingMax} calls are waiting`, { retry: true })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = () => {
      const at = this.#waiting.indexOf(resolve)
      if (at < 0) return
      this.#waiting.splice(at, 1)
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#waiting.push(resolve)
    return promise.finally(() => signal.removeEventListener('abort', onAbort))
  }
}
