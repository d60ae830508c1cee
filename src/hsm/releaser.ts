import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline } from '../base/environment.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { type Digest, dom0, type ProfileName, parseProfileName, type VmName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { parseEntry } from '../ledger/entry.ts'
import type { WitnessState } from '../ledger/witness.ts'
import type { HsmBinding } from '../profiles/binding.ts'
import type { Configuration } from '../profiles/config.ts'
import type { Question } from '../qrexec/calls/attest.ts'
import type { ReleaseAnswer, ReleaseCall, WitnessAnswer, WitnessCall } from '../qrexec/calls/release.ts'
import type { AttestationVerifier } from '../sealing/verifier.ts'
import { type Approvals, denied } from './approvals.ts'
import { type Decision, reasonLengthMax } from './decisions.ts'
import { openWithToken } from './envelope.ts'
import { HsmError } from './errors.ts'
import { FairTurns } from './fair-turns.ts'
import {
  cosignState,
  examineCheckpoint,
  type LedgerNames,
  requireRecorded,
  type WitnessToken,
} from './ledger-witness.ts'
import type { ReleaseRequest } from './passphrase-service.ts'
import { asksPerson, type Judgement, judge, judgeStock } from './release.ts'
import type { HsmStore } from './store.ts'
import type { TokenKey } from './tagged-stanza.ts'
import type { TokenPublicKeys } from './token-protocol.ts'

/** A whole release, with the waiting for those before it. Below dom0's own deadline, so that dom0 hears the reason. */
const releaseMilliseconds: Milliseconds = 60_000
/** What is for no profile that is known waits together. */
const forNobody = ''

export interface ReleaserPorts {
  readonly clock: Clock
  readonly log: Log
  readonly store: HsmStore
  readonly token: HsmToken
  /** This VM's own sealed copy, verified anew. */
  readonly configuration: () => Promise<{
    readonly value: Configuration
    readonly version: number
    readonly digest: Digest
  }>
  readonly ledger: LedgerNames
  /** Where a person is asked. */
  readonly approvals: Approvals
  /** dom0, as this VM knows it. */
  readonly machine: Pick<AttestationVerifier, 'ask' | 'examine'>
}

/** What a release needs of the token; `TokenProcess` is one. */
export interface HsmToken extends WitnessToken {
  agree(peerPoint: Uint8Array, signal: AbortSignal): Promise<Secret>
}

export interface Caller {
  readonly source: VmName
  readonly argument: string
  readonly signal: AbortSignal
}

/** What is known of a call so far, for the record. */
type Known = {
  -readonly [K in Exclude<keyof Decision, 'time' | 'outcome' | 'code' | 'reason' | 'witness'>]: Decision[K]
}
/** Records that a release may go on, with the checkpoint that is cosigned for it. */
type Allow = (witness?: WitnessState) => Promise<void>

/**
 * Decides and releases, one call at a time: two at once could both be the last that a limit allows. Each decision is
 * recorded before the passphrase is opened; a call that fails after it was allowed has used its request up.
 */
export class Releaser {
  readonly #ports: ReleaserPorts
  readonly #turns = new FairTurns()
  /** Profiles of the configuration as it was read last. */
  #profiles: ReadonlySet<string> = new Set()

  constructor(ports: ReleaserPorts) {
    this.#ports = ports
  }

  /** Throws `HsmError`; refusals are recorded. The caller of this owns the secret. */
  release(call: ReleaseCall, caller: Caller): Promise<ReleaseAnswer> {
    return this.#decided('release', caller, (known, allow, signal) =>
      this.#release(call, caller, known, allow, signal),
    )
  }

  /** For stock qubesd: no ledger stands behind it, so the sealed binding must allow it by name. */
  releaseStock(caller: Caller): Promise<Secret> {
    return this.#decided('stock', caller, async (known, allow, signal) => {
      const profile = parseArgument(caller)
      known.profile = profile
      known.purpose = 'backup'
      const { store, clock } = this.#ports
      const { value, digest } = await this.#configuration()
      const binding = value.bindings.get(profile) ?? null
      const releases = store.decisions.releases(profile)
      const context = {
        caller: caller.source,
        profile,
        binding,
        configurationDigest: digest,
        now: clock.now(),
        releases,
      }
      requireAllowed(judgeStock(context))
      const envelope = await this.#sealedEnvelope(profile, binding)
      const key = this.#wrappingKey(await this.#ports.token.publicKeys(signal), signal)
      await allow()
      return await opened(envelope, key, signal)
    })
  }

  /** Cosigns a checkpoint for which nothing is released. Not a decision: it is not recorded. */
  async witness(call: WitnessCall, caller: Caller): Promise<WitnessAnswer> {
    if (caller.source !== dom0) throw notDom0(caller.source)
    return await this.#serially(forNobody, caller.signal, async signal => {
      const { store, ledger, token, clock } = this.#ports
      const { roles } = (await this.#configuration()).value
      const state = examineCheckpoint(store.witness, call, roles, ledger)
      if ('witnessSize' in state) return state
      const keys = await token.publicKeys(signal)
      const cosignature = await cosignState(state, { token, keys, now: clock.now() }, roles, ledger, signal)
      await store.saveWitness(state)
      return { cosignature }
    })
  }

  async #release(
    call: ReleaseCall,
    caller: Caller,
    known: Known,
    allow: Allow,
    signal: AbortSignal,
  ): Promise<ReleaseAnswer> {
    const profile = parseArgument(caller)
    const request = parseRequest(call.entry)
    const { job, purpose, nonce } = request
    Object.assign(known, { profile, job, purpose, nonce, index: call.index })
    const { store, clock, ledger, approvals, token } = this.#ports
    const { value, digest } = await this.#configuration()
    const binding = value.bindings.get(profile) ?? null
    const judgement = judge(request, {
      caller: caller.source,
      profile,
      binding,
      configurationDigest: digest,
      now: clock.now(),
      releases: store.decisions.releases(profile),
      index: call.index,
      seenNonces: store.decisions.seenNonces,
      indexMin: store.decisions.indexMin,
    })
    requireAllowed(judgement)
    if (binding !== null && asksPerson(binding, purpose)) {
      if (store.decisions.isDenied(job)) throw denied(job)
      if (!approvals.isApproved(request)) return { pending: true }
    }
    const question = await this.#attestation(call, binding, digest)
    if (question !== null) return { question }
    const envelope = await this.#sealedEnvelope(profile, binding)
    const state = examineCheckpoint(store.witness, call, value.roles, ledger)
    if ('witnessSize' in state) return state
    requireRecorded(call, state)
    // Asked for before a release is allowed: a token that is missing or a wrong PIN must not use a request up.
    const keys = await token.publicKeys(signal)
    const key = this.#wrappingKey(keys, signal)
    const cosignature = await cosignState(
      state,
      { token, keys, now: clock.now() },
      value.roles,
      ledger,
      signal,
    )
    await allow(state)
    approvals.end(job)
    return { cosignature, passphrase: await opened(envelope, key, signal) }
  }

  /** What dom0 is still to answer; `null`: nothing. Throws `HSM_REFUSED_ATTESTATION`. */
  async #attestation(
    { attested }: ReleaseCall,
    binding: HsmBinding | null,
    digest: Digest,
  ): Promise<Question | null> {
    const { machine, configuration, store, log } = this.#ports
    if (binding === null || binding.attestation === 'none') return null
    if (attested === null) return machine.ask()
    const { version } = await configuration()
    const examined = await machine.examine(attested, {
      store: { version, digest },
      ledgerSize: store.witness?.size ?? 0,
      isHardwareRequired: binding.attestation === 'hardware',
    })
    if (examined.kind === 'asked') return examined.question
    for (const found of examined.findings) log.warn('attestation', { ...found })
    if (examined.kind === 'accepted') return null
    const reasons = examined.findings.filter(({ severity }) => severity === 'refused')
    throw new HsmError(
      'HSM_REFUSED_ATTESTATION',
      reasons.map(({ code, words }) => `${code}: ${words}`).join(' '),
    )
  }

  async #configuration() {
    const current = await this.#ports.configuration()
    this.#profiles = new Set(current.value.bindings.keys())
    return current
  }

  #sealedEnvelope(profile: ProfileName, binding: HsmBinding | null) {
    if (binding === null) throw new HsmError('HSM_REFUSED_PROFILE', `there is no profile '${profile}'`)
    return this.#ports.store.envelopes.sealed(profile, binding.epoch, binding.envelope)
  }

  #wrappingKey({ wrapping }: TokenPublicKeys, signal: AbortSignal): TokenKey {
    const { token } = this.#ports
    if (wrapping === null) throw new HsmError('HSM_KEY_MISSING', 'the token has no wrapping key')
    return { point: wrapping, agree: peerPoint => token.agree(peerPoint, signal) }
  }

  /** Runs `work` and records how it ended; `allow` records that it may go on, and must have been awaited before it does. */
  async #decided<T>(
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
        const allow = async (witness?: WitnessState) => {
          signal.throwIfAborted()
          await this.#record({ ...known, outcome: 'allowed', code: null, reason: undefined, witness })
          outcome = 'failed'
        }
        return work(known, allow, signal)
      }),
    )
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

  async #record(decision: Omit<Decision, 'time'>): Promise<void> {
    const { store, clock, log } = this.#ports
    log[decision.outcome === 'allowed' ? 'info' : 'warn'](`passphrase ${decision.outcome}`, { ...decision })
    await store.record({ time: clock.now(), ...decision })
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

async function opened(envelope: Untrusted<Uint8Array>, key: TokenKey, signal: AbortSignal): Promise<Secret> {
  const passphrase = await openWithToken(envelope, key)
  if (!signal.aborted) return passphrase
  passphrase.dispose()
  throw signal.reason
}

function notDom0(source: VmName): HsmError {
  return new HsmError('HSM_REFUSED_CALLER', `${source} asked for a passphrase or a cosignature`)
}

function requireAllowed(judgement: Judgement): void {
  if (!judgement.allow) throw new HsmError(judgement.code, judgement.reason)
}

function parseArgument({ argument }: Caller): ProfileName {
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

function parseRequest(untrustedEntry: Uint8Array): ReleaseRequest {
  try {
    const entry = parseEntry(untrustedEntry)
    if (entry.type === 'release-request') return entry
    throw new HsmError(
      'HSM_REFUSED_REQUEST',
      `a '${entry.type}' entry of the ledger; expected a release-request`,
    )
  } catch (cause) {
    if (cause instanceof HsmError || !(cause instanceof CodedError)) throw cause
    throw new HsmError('HSM_REFUSED_REQUEST', `the entry is none of the ledger: ${cause.message}`, { cause })
  }
}
