import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline } from '../base/environment.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { dom0, type ProfileName, parseProfileName, type VmName } from '../base/names.ts'
import type { WitnessState } from '../ledger/witness.ts'
import { type Decision, reasonLengthMax } from './decisions.ts'
import { HsmError } from './errors.ts'
import { FairTurns } from './fair-turns.ts'
import type { Judgement } from './release.ts'
import type { HsmStore } from './store.ts'

/** A whole release, with the waiting for those before it. Below dom0's own deadline, so that dom0 hears the reason. */
const releaseMilliseconds: Milliseconds = 60_000
/** What is for no profile that is known waits together. */
const forNobody = ''

export interface Caller {
  readonly source: VmName
  readonly argument: string
  readonly signal: AbortSignal
}

/** What is known of a call so far, for the record. */
export type Known = {
  -readonly [K in Exclude<keyof Decision, 'time' | 'outcome' | 'code' | 'reason' | 'witness'>]: Decision[K]
}
/** Records that a release may go on, with the checkpoint that is cosigned for it and the one that it was found to continue. */
export type Allow = (witness?: WitnessState, from?: WitnessState | null) => Promise<void>

/**
 * Decides one call at a time: two at once could both be the last that a limit allows. Each decision is recorded before the
 * passphrase is opened; a call that fails after it was allowed has used its request up.
 */
export class Deciding {
  readonly #ports: { readonly clock: Clock; readonly log: Log; readonly store: HsmStore }
  readonly #turns = new FairTurns()
  #profiles: ReadonlySet<string> = new Set()

  constructor(ports: { readonly clock: Clock; readonly log: Log; readonly store: HsmStore }) {
    this.#ports = ports
  }

  /** The profiles of the configuration as it was read last: what is for one of them waits behind no other. */
  learn(profiles: Iterable<string>): void {
    this.#profiles = new Set(profiles)
  }

  /** Runs `work` and records how it ended; `allow` records that it may go on, and must have been awaited before it does. */
  async decided<T>(
    call: Decision['call'],
    caller: Caller,
    work: (known: Known, allow: Allow, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
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
    const recorded = async (decide: () => Promise<T>): Promise<T> => {
      try {
        return await decide()
      } catch (error) {
        await this.#recordFailure({ ...known, outcome }, error)
        throw error
      }
    }
    // Before a byte of the request is looked at, and out of turn: who may ask nothing holds up nobody.
    if (caller.source !== dom0) return await recorded(() => Promise.reject(notDom0(caller.source)))
    return await this.#serially(this.#keyOf(caller), caller.signal, signal =>
      recorded(() => {
        const allow: Allow = async (witness, from) => {
          signal.throwIfAborted()
          await this.#record({ ...known, outcome: 'allowed', code: null, reason: undefined, witness }, from)
          outcome = 'failed'
        }
        return work(known, allow, signal)
      }),
    )
  }

  /** For what is for no profile: in turn with all others, and within the deadline. Throws `HSM_BUSY`, `HSM_TIMEOUT`. */
  serially<T>(callerSignal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#serially(forNobody, callerSignal, work)
  }

  #keyOf({ argument }: Caller): string {
    return this.#profiles.has(argument) ? argument : forNobody
  }

  async #recordFailure(known: Known & Pick<Decision, 'outcome'>, error: unknown): Promise<void> {
    const code = error instanceof CodedError ? error.code : 'INTERNAL'
    const reason =
      error instanceof CodedError ? printable(error.message).slice(0, reasonLengthMax) : undefined
    await this.#record({ ...known, code, reason, witness: undefined }).catch(failure =>
      this.#ports.log.error('a refusal could not be recorded', { code, error: failure }),
    )
  }

  async #record(decision: Omit<Decision, 'time'>, from?: WitnessState | null): Promise<void> {
    const { store, clock, log } = this.#ports
    log[decision.outcome === 'allowed' ? 'info' : 'warn'](`passphrase ${decision.outcome}`, { ...decision })
    await store.record({ time: clock.now(), ...decision }, from)
  }

  async #serially<T>(
    key: string,
    callerSignal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const late = () =>
      new HsmError('HSM_TIMEOUT', `no decision within ${releaseMilliseconds} ms`, { retry: true })
    using signal = deadline(releaseMilliseconds, late, callerSignal)
    const ended = Promise.withResolvers<never>()
    ended.promise.catch(() => {}) // heard below, if at all
    const end = () => ended.reject(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    try {
      return await this.#turns.run(key, () => {
        signal.throwIfAborted()
        // One that is stuck gives way at its deadline: past it nothing is allowed any more.
        return Promise.race([work(signal), ended.promise])
      })
    } finally {
      signal.removeEventListener('abort', end)
    }
  }
}

export function notDom0(source: VmName): HsmError {
  return new HsmError('HSM_REFUSED_CALLER', `${source} asked for a passphrase or a cosignature`)
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
