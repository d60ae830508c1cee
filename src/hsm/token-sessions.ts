import type pkcs11 from 'pkcs11js'
import { HsmError } from './errors.ts'
import { isSessionLimit, tokenError } from './token-faults.ts'
import { TokenSession } from './token-session.ts'

/** Where the sessions come from. */
export interface SessionSource {
  readonly library: pkcs11.PKCS11
  readonly slot: Buffer
  /** The one that has logged in, and all others with it. */
  readonly login: Buffer
  readonly open: () => Buffer
}

/**
 * The sessions of one login. Each operation has one for itself, since a session can do one thing at a time; one that has failed is
 * not used again, since what failed in it may not be over. The session of the login does no work, so that nothing logs out by
 * closing the last, except on a token that has no other.
 */
export class TokenSessions implements Disposable {
  readonly #source: SessionSource
  readonly #idle: Buffer[] = []
  readonly #waiting: (() => void)[] = []
  #opened = 0
  #openedMax: number

  constructor(source: SessionSource, sessionsMax: number) {
    this.#source = source
    this.#openedMax = sessionsMax
  }

  /** Whatever goes wrong in `work`, a token that is no longer there is the reason. Throws `HsmError`. */
  async use<T>(what: string, work: (session: TokenSession) => T | Promise<T>): Promise<T> {
    const { library, slot } = this.#source
    try {
      const handle = await this.#take()
      let isSound = false
      try {
        const result = await work(new TokenSession(library, slot, handle))
        isSound = true
        return result
      } catch (error) {
        isSound = error instanceof HsmError
        throw error
      } finally {
        this.#give(handle, isSound)
      }
    } catch (error) {
      if (!this.#isPresent())
        throw new HsmError('HSM_TOKEN_REMOVED', `${what}: the token is no longer there`, { retry: true })
      throw tokenError(what, error)
    }
  }

  [Symbol.dispose](): void {
    for (const session of [...this.#idle.splice(0), this.#source.login]) this.#close(session)
  }

  async #take(): Promise<Buffer> {
    for (;;) {
      const session = this.#idle.pop() ?? this.#open()
      if (session !== null) return session
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  /** `null`: the token gives no more than are in use. */
  #open(): Buffer | null {
    if (this.#opened >= this.#openedMax) return null
    try {
      const session = this.#source.open()
      this.#opened += 1
      return session
    } catch (error) {
      if (!isSessionLimit(error)) {
        // Whoever waits is not to wait for this one.
        this.#waiting.shift()?.()
        throw error
      }
      this.#openedMax = Math.max(1, this.#opened)
      if (this.#opened > 0) return null
      this.#opened = 1
      return this.#source.login
    }
  }

  #give(session: Buffer, isSound: boolean): void {
    if (isSound || session === this.#source.login) this.#idle.push(session)
    else {
      this.#close(session)
      this.#opened -= 1
    }
    this.#waiting.shift()?.()
  }

  #close(session: Buffer): void {
    try {
      this.#source.library.C_CloseSession(session)
    } catch {
      // The token is gone, and its session with it.
    }
  }

  #isPresent(): boolean {
    try {
      return this.#source.library.C_GetTokenInfo(this.#source.slot).label.length > 0
    } catch {
      return false
    }
  }
}
