import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline, type Entropy, newJobId } from '../base/environment.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import {
  type Digest,
  dom0,
  type JobId,
  type ProfileName,
  parseProfileName,
  type VmName,
} from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { parseEntry } from '../ledger/entry.ts'
import { type HsmBinding, sealedEpochs } from '../profiles/binding.ts'
import type { Configuration } from '../profiles/config.ts'
import type { Question } from '../qrexec/calls/attest.ts'
import type { ReleaseAnswer, ReleaseCall, WitnessAnswer, WitnessCall } from '../qrexec/calls/release.ts'
import type { AttestationVerifier } from '../sealing/verifier.ts'
import { type Approvals, denied } from './approvals.ts'
import { type Decision, reasonLengthMax } from './decisions.ts'
import { openWithToken } from './envelope.ts'
import { HsmError } from './errors.ts'
import {
  cosignState,
  examineCheckpoint,
  type LedgerNames,
  requireRecorded,
  type WitnessToken,
} from './ledger-witness.ts'
import type { ReleaseRequest } from './passphrase-service.ts'
import { asksPerson, type Judgement, judge, judgeStock, type StockWanted } from './release.ts'
import type { HsmStore } from './store.ts'
import type { TokenKey } from './tagged-stanza.ts'

/** A whole release, with the waiting for those before it. Below dom0's own deadline, so that dom0 hears the reason. */
const releaseMilliseconds: Milliseconds = 60_000
const waitingMax = 16
/** A person has as long as for a request in the ledger. */
const stockWaitMilliseconds: Milliseconds = 10 * 60 * 1000
/** From one look to the next, at a person who decides. */
const pollMilliseconds: Milliseconds = 2_000

export interface ReleaserPorts {
  readonly clock: Clock
  readonly entropy: Entropy
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

/** A call of stock Qubes; `job` is this VM's own name for it. */
interface StockAsked {
  readonly purpose: StockWanted['purpose']
  readonly epoch: Untrusted<Uint8Array>
  readonly job: JobId
  readonly expires: Date
  readonly caller: Caller
}

/** What is known of a call so far, for the record. */
type Known = { -readonly [K in Exclude<keyof Decision, 'time' | 'outcome' | 'code' | 'reason'>]: Decision[K] }

/**
 * Decides and releases, one call at a time: two at once could both be the last that a limit allows. Each decision is
 * recorded before the passphrase is opened; a call that fails after it was allowed has used its request up.
 */
export class Releaser {
  readonly #ports: ReleaserPorts
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(ports: ReleaserPorts) {
    this.#ports = ports
  }

  /** Throws `HsmError`; refusals are recorded. The caller of this owns the secret. */
  release(call: ReleaseCall, caller: Caller): Promise<ReleaseAnswer> {
    return this.#decided('release', caller, (known, allow, signal) =>
      this.#release(call, caller, known, allow, signal),
    )
  }

  /**
   * For stock Qubes: no ledger stands behind it, so the sealed binding must allow it by name. Where a person has to say yes the
   * call waits for her: neither qubesd nor qvm-backup-restore has a deadline. `epoch`: as the caller wrote it; nothing is the
   * sealed one.
   */
  async releaseStock(
    purpose: StockWanted['purpose'],
    epoch: Untrusted<Uint8Array>,
    caller: Caller,
  ): Promise<Secret> {
    const { clock, approvals } = this.#ports
    const job = newJobId(this.#ports)
    const expires = new Date(clock.now().getTime() + stockWaitMilliseconds)
    try {
      for (;;) {
        const passphrase = await this.#decided('stock', caller, (known, allow, signal) =>
          this.#releaseStock({ purpose, epoch, job, expires, caller }, known, allow, signal),
        )
        if (passphrase !== null) return passphrase
        await clock.sleep(pollMilliseconds, caller.signal)
      }
    } finally {
      approvals.end(job)
    }
  }

  /** `null`: a person is asked. */
  async #releaseStock(
    asked: StockAsked,
    known: Known,
    allow: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<Secret | null> {
    const { purpose, job, expires, caller } = asked
    const profile = parseArgument(caller)
    Object.assign(known, { profile, purpose })
    const { store, clock, configuration, approvals } = this.#ports
    const { value, digest } = await configuration()
    const binding = value.bindings.get(profile) ?? null
    const epoch = asked.epoch.parse(parseEpochLine) ?? binding?.epoch ?? 1
    known.epoch = epoch
    const now = clock.now()
    const releases = store.decisions.releases(profile)
    const context = { caller: caller.source, profile, binding, configurationDigest: digest, now, releases }
    requireAllowed(judgeStock({ purpose, epoch }, context))
    if (binding !== null && asksPerson(binding, purpose)) {
      known.job = job
      if (expires <= now) throw new HsmError('HSM_REFUSED_EXPIRED', 'nobody has answered')
      const request = { job, profile, purpose, epoch, initiator: caller.source, expires }
      if (!approvals.isApproved(request, 'stock')) return null
    }
    const envelope = await this.#sealedEnvelope(profile, binding, epoch)
    const key = await this.#wrappingKey(signal)
    await allow()
    return await opened(envelope, key, signal)
  }

  /** Cosigns a checkpoint for which nothing is released. Not a decision: it is not recorded. */
  witness(call: WitnessCall, caller: Caller): Promise<WitnessAnswer> {
    return this.#serially(caller.signal, async signal => {
      requireDom0(caller.source)
      const { store, ledger, configuration } = this.#ports
      const { roles } = (await configuration()).value
      const state = examineCheckpoint(store.witness, call, roles, ledger)
      if ('witnessSize' in state) return state
      return { cosignature: await cosignState(state, this.#ports, roles, ledger, signal) }
    })
  }

  async #release(
    call: ReleaseCall,
    caller: Caller,
    known: Known,
    allow: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<ReleaseAnswer> {
    const profile = parseArgument(caller)
    const request = parseRequest(call.entry)
    const { job, purpose, epoch, nonce } = request
    Object.assign(known, { profile, job, purpose, epoch, nonce, index: call.index })
    const { store, clock, ledger, configuration, approvals } = this.#ports
    const { value, digest } = await configuration()
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
    const envelope = await this.#sealedEnvelope(profile, binding, request.epoch)
    const state = examineCheckpoint(store.witness, call, value.roles, ledger)
    if ('witnessSize' in state) return state
    requireRecorded(call, state)
    const key = await this.#wrappingKey(signal)
    const cosignature = await cosignState(state, this.#ports, value.roles, ledger, signal)
    await allow()
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

  #sealedEnvelope(profile: ProfileName, binding: HsmBinding | null, epoch: number | undefined) {
    const sealed = binding === null ? [] : sealedEpochs(binding)
    const found = sealed.find(one => one.epoch === epoch)
    if (found === undefined)
      throw new HsmError('HSM_REFUSED_PROFILE', `there is no such epoch of a profile '${profile}'`)
    return this.#ports.store.envelopes.sealed(profile, found.epoch, found.envelope)
  }

  /** Fetched before a release is allowed: a token that is missing or a wrong PIN must not use a request up. */
  async #wrappingKey(signal: AbortSignal): Promise<TokenKey> {
    const { token } = this.#ports
    const { wrapping } = await token.publicKeys(signal)
    if (wrapping === null) throw new HsmError('HSM_KEY_MISSING', 'the token has no wrapping key')
    return { point: wrapping, agree: peerPoint => token.agree(peerPoint, signal) }
  }

  /** Runs `work` and records how it ended; `allow` records that it may go on, and must have been awaited before it does. */
  #decided<T>(
    call: Decision['call'],
    caller: Caller,
    work: (known: Known, allow: () => Promise<void>, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    return this.#serially(caller.signal, async signal => {
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

  #serially<T>(callerSignal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
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

async function opened(envelope: Untrusted<Uint8Array>, key: TokenKey, signal: AbortSignal): Promise<Secret> {
  const passphrase = await openWithToken(envelope, key)
  if (!signal.aborted) return passphrase
  passphrase.dispose()
  throw signal.reason
}

function requireDom0(source: VmName): void {
  if (source !== dom0)
    throw new HsmError('HSM_REFUSED_CALLER', `${source} asked for a passphrase or a cosignature`)
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

/** `null`: none is named. */
function parseEpochLine(untrustedBytes: Uint8Array): number | null {
  const text = Buffer.from(untrustedBytes).toString('latin1')
  if (text.trim() === '') return null
  if (/^[1-9]\d{0,5}\n?$/.test(text)) return Number(text)
  throw new HsmError('HSM_REFUSED_REQUEST', 'what was sent is no number of an epoch')
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
