import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline } from '../base/environment.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { dom0, type ProfileName, parseProfileName, type VmName } from '../base/names.ts'
import { type Decision, reasonLengthMax } from './decisions.ts'
import { HsmError } from './errors.ts'
import type { Judgement } from './release.ts'
import type { HsmStore } from './store.ts'

/** A whole release, with the waiting for those before it. Below dom0's own deadline, so that dom0 hears the reason. */
const releaseMilliseconds: Milliseconds = 60_000
const waitingMax = 16

export interface Caller {
  readonly source: VmName
  readonly argument: string
  readonly signal: AbortSignal
}

/** What is known of a call so far, for the record. */
export type Known = {
  -readonly [K in Exclude<keyof Decision, 'time' | 'outcome' | 'code' | 'reason'>]: Decision[K]
}

/**
 * Decides one call at a time: two at once could both be the last that a limit allows. Each decision is recorded before the
 * passphrase is opened; a call that fails after it was allowed has used its request up.
 */
export class Deciding {
  readonly #ports: { readonly clock: Clock; readonly log: Log; readonly store: HsmStore }
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(ports: { readonly clock: Clock; readonly log: Log; readonly store: HsmStore }) {
    this.#ports = ports
  }

  /** Runs `work` and records how it ended; `allow` records that it may go on, and must have been awaited before it does. */
  decided<T>(
    call: Decision['call'],
    caller: Caller,
    work: (known: Known, allow: () => Promise<void>, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return this.serially(caller.signal, async signal => {
      const known: Known = {
        call,
        caller: caller.source,
        profile: null,
        job: null,
        purpose: null,
        epoch: undefined,
        index: null,
        nonce: null,
      }
      let outcome: Decision['outcome'] = 'refused'
      const allow = async () => {
        signal.throwIfAborted()
        await this.#record({ ...known, outcome: 'allowed', code: null, reason: undefined })
        outcome = 'failed'
      }
      try {
        // Before a byte of the request is looked at.
        requireDom0(caller.source)
        return await work(known, allow, signal)
      } catch (error) {
        const code = error instanceof CodedError ? error.code : 'INTERNAL'
        const reason =
          error instanceof CodedError ? printable(error.message).slice(0, reasonLengthMax) : undefined
        await this.#record({ ...known, outcome, code, reason }).catch(failure =>
          this.#ports.log.error('a refusal could not be recorded', { code, error: failure }),
        )
        throw error
      }
    })
  }

  async #record(decision: Omit<Decision, 'time'>): Promise<void> {
    const { store, clock, log } = this.#ports
    log[decision.outcome === 'allowed' ? 'info' : 'warn'](`passphrase ${decision.outcome}`, { ...decision })
    await store.decisions.append({ time: clock.now(), ...decision })
  }

  /** One call after another, each within its deadline. Throws `HSM_BUSY`, `HSM_TIMEOUT`. */
  serially<T>(callerSignal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax)
      return Promise.reject(new HsmError('HSM_BUSY', `${waitingMax} calls are waiting`, { retry: true }))
    this.#waiting += 1
    const late = () =>
      new HsmError('HSM_TIMEOUT', `no decision within ${releaseMilliseconds} ms`, { retry: true })
    const signal = deadline(releaseMilliseconds, late, callerSignal)
    const ended = Promise.withResolvers<never>()
    ended.promise.catch(() => {}) // heard below, if at all
    const end = () => ended.reject(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    const result = this.#last
      .then(() => {
        signal.throwIfAborted()
        // One that is stuck gives way at its deadline: past it nothing is allowed any more.
        return Promise.race([work(signal), ended.promise])
      })
      .finally(() => {
        this.#waiting -= 1
        signal.removeEventListener('abort', end)
      })
    this.#last = result.catch(() => {})
    return result
  }
}

export function requireDom0(source: VmName): void {
  if (source !== dom0)
    throw new HsmError('HSM_REFUSED_CALLER', `${source} asked for a passphrase or a cosignature`)
}

export function requireAllowed(judgement: Judgement): void {
  if (!judgement.allow) throw new HsmError(judgement.code, judgement.reason)
}

export function parseArgument({ argument }: Caller): ProfileName {
  try {
    return parseProfileName(argument)
  } catch (cause) {
    throw new HsmError(
      'HSM_REFUSED_PROFILE',
      `'${printable(argument).slice(0, 64)}' is no name of a profile`,
      { cause },
    )
  }
}
