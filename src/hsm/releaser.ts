import type { Milliseconds } from '../base/brand.ts'
import { type Clock, type Entropy, newJobId } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { type Digest, dom0, type JobId } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { parseEntry } from '../ledger/entry.ts'
import type { HsmBinding } from '../profiles/binding.ts'
import type { Configuration } from '../profiles/config.ts'
import type { Question } from '../qrexec/calls/attest.ts'
import type { ReleaseAnswer, ReleaseCall, WitnessAnswer, WitnessCall } from '../qrexec/calls/release.ts'
import type { AttestationVerifier } from '../sealing/verifier.ts'
import { type Approvals, denied } from './approvals.ts'
import {
  type Allow,
  type Caller,
  Deciding,
  type Known,
  notDom0,
  parseArgument,
  requireAllowed,
} from './deciding.ts'
import { HsmError } from './errors.ts'
import { cosignState, examineCheckpoint, type LedgerNames, requireRecorded } from './ledger-witness.ts'
import { type HsmToken, opened, sealedEnvelope, wrappingKey } from './opening.ts'
import type { ReleaseRequest } from './passphrase-service.ts'
import { asksPerson, asksPin, judge, judgeStock, type StockWanted } from './release.ts'
import type { HsmStore } from './store.ts'

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

/** A call of stock Qubes; `job` is this VM's own name for it. */
interface StockAsked {
  readonly purpose: StockWanted['purpose']
  readonly epoch: Untrusted<Uint8Array>
  readonly job: JobId
  readonly expires: Date
  readonly caller: Caller
}

/** Judges, and releases: for dom0's jobs, and for stock Qubes. */
export class Releaser {
  readonly #ports: ReleaserPorts
  readonly #deciding: Deciding

  constructor(ports: ReleaserPorts) {
    this.#ports = ports
    this.#deciding = new Deciding(ports)
  }

  /** Throws `HsmError`; refusals are recorded. The caller of this owns the secret. */
  release(call: ReleaseCall, caller: Caller): Promise<ReleaseAnswer> {
    return this.#deciding.decided('release', caller, (known, allow, signal) =>
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
        const passphrase = await this.#deciding.decided('stock', caller, (known, allow, signal) =>
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
    allow: Allow,
    signal: AbortSignal,
  ): Promise<Secret | null> {
    const { purpose, job, expires, caller } = asked
    const profile = parseArgument(caller)
    Object.assign(known, { profile, purpose })
    const { store, clock, approvals } = this.#ports
    const { value, digest } = await this.#configuration()
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
      if (!approvals.isApproved(request, asksPin(binding, purpose), 'stock')) return null
    }
    const envelope = await sealedEnvelope(store, profile, binding, epoch)
    const { token } = this.#ports
    const key = wrappingKey(await token.publicKeys(signal), token, signal)
    await allow()
    return await opened(envelope, key, signal)
  }

  /** Cosigns a checkpoint for which nothing is released. Not a decision: it is not recorded. */
  async witness(call: WitnessCall, caller: Caller): Promise<WitnessAnswer> {
    if (caller.source !== dom0) throw notDom0(caller.source)
    return await this.#deciding.serially(caller.signal, async signal => {
      const { store, ledger, token, clock } = this.#ports
      const { roles } = (await this.#configuration()).value
      const from = store.witness
      const state = examineCheckpoint(from, call, roles, ledger)
      if ('witnessSize' in state) return state
      const keys = await token.publicKeys(signal)
      const cosignature = await cosignState(state, { token, keys, now: clock.now() }, roles, ledger, signal)
      await store.saveWitness(state, from)
      return { cosignature }
    })
  }

  /** In turn with all releases, none of which is under way meanwhile. Throws `HSM_BUSY`, `HSM_TIMEOUT`. */
  between<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    return this.#deciding.serially(signal, work)
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
    const { job, purpose, epoch, nonce } = request
    Object.assign(known, { profile, job, purpose, epoch, nonce, index: call.index })
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
    // Before anybody is asked: she decides about what stands in dom0's signed ledger, and not about what dom0 only says.
    const from = store.witness
    const state = examineCheckpoint(from, call, value.roles, ledger)
    if ('witnessSize' in state) return state
    requireRecorded(call, state)
    if (binding !== null && asksPerson(binding, purpose)) {
      if (store.decisions.isDenied(job)) throw denied(job)
      if (!approvals.isApproved(request, asksPin(binding, purpose))) return { pending: true }
    }
    const question = await this.#attestation(call, binding, digest)
    if (question !== null) return { question }
    const envelope = await sealedEnvelope(store, profile, binding, request.epoch)
    // Asked for before a release is allowed: a token that is missing or a wrong PIN must not use a request up.
    const keys = await token.publicKeys(signal)
    const key = wrappingKey(keys, token, signal)
    const now = clock.now()
    const cosignature = await cosignState(state, { token, keys, now }, value.roles, ledger, signal)
    await allow(state, from)
    approvals.end(job)
    return { cosignature, passphrase: await opened(envelope, key, signal) }
  }

  async #configuration() {
    const current = await this.#ports.configuration()
    this.#deciding.learn(current.value.bindings.keys())
    return current
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
