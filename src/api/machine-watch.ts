import type { Milliseconds } from '../base/brand.ts'
import { type Clock, deadline } from '../base/environment.ts'
import { type ErrorReport, reportOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { Serially } from '../base/serially.ts'
import { LedgerError } from '../ledger/errors.ts'
import type { AttestAnswer } from '../qrexec/calls/attest.ts'
import { QrexecError } from '../qrexec/errors.ts'
import type { StoreClaim } from '../sealing/attestation.ts'
import { SealError } from '../sealing/errors.ts'
import type { Finding } from '../sealing/findings.ts'
import type { EnrolledMachine } from '../sealing/machine.ts'
import type { AttestationVerifier, MachineExpectation } from '../sealing/verifier.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { Dom0Port } from './dom0.ts'
import { ApiError } from './errors.ts'
import { SealedHistory, type StoresInForce } from './sealed-history.ts'
import { type LedgerWitness, pollMilliseconds } from './witness.ts'

/** The first look reads the whole ledger. */
const lookMilliseconds: Milliseconds = 300_000
/** Who is new is asked once more, with a challenge. */
const questionsMax = 2

type Verifier = Pick<AttestationVerifier, 'ask' | 'examine' | 'known'>

export interface MachineWatchPorts {
  readonly clock: Clock
  readonly catalogue: Catalogue
  readonly dom0: Pick<Dom0Port, 'attest' | 'ledger'>
  readonly log: Log
  readonly witness: Pick<LedgerWitness, 'poll'>
  /** Of the ledger that the witness follows. */
  readonly origin: string
  /** Opened at the first look, and again until it opens: this VM has other duties too. */
  readonly openVerifier: () => Promise<Verifier>
  readonly isHardwareRequired: boolean
}

export interface MachineState {
  readonly time: Date
  /** `unanswered`: nothing was proven, for a reason that may pass. */
  readonly state: 'accepted' | 'refused' | 'unanswered'
  /** Whether it has attested before. */
  readonly isKnown: boolean
  readonly machine: EnrolledMachine | null
  /** What the ledger says to be in force; `null` where it was not asked. */
  readonly store: StoreClaim | null
  readonly findings: readonly Finding[]
  /** Why there is no verdict. */
  readonly error: ErrorReport | null
}

type Verdict = Pick<MachineState, 'state' | 'store' | 'findings'>

/**
 * The management VM as a verifier of dom0: asks it which sealed store it uses, and compares that with the ledger. It has no copy
 * of the store; what it knows is what dom0 has told all witnesses.
 */
export class MachineWatch {
  readonly #ports: MachineWatchPorts
  readonly #history = new SealedHistory()
  readonly #one = new Serially()
  #verifier: Verifier | null = null
  #latest: MachineState | null = null

  constructor(ports: MachineWatchPorts) {
    this.#ports = ports
  }

  /** `null`: there is no TPM, and never was one; or nobody has looked yet. */
  get latest(): MachineState | null {
    return this.#latest
  }

  /** Until `signal`; no failure ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#ports
    let told: string | null = null
    while (!signal.aborted) {
      try {
        await this.look(signal)
        told = null
      } catch (error) {
        const { code } = reportOf(error)
        // A policy that does not allow the question says so each time.
        if (!signal.aborted && code !== told) log.warn('dom0 could not be asked to attest', { error })
        told = code
      }
      await clock.sleep(pollMilliseconds, signal).catch(() => {})
    }
  }

  /** Asks now. Throws only what says nothing about a machine: that dom0 does not answer, where none is known. */
  look(signal: AbortSignal): Promise<MachineState | null> {
    return this.#one.run(async () => {
      const before = this.#latest
      this.#latest = await this.#look(signal)
      this.#tell(before)
      return this.#latest
    })
  }

  async #look(caller: AbortSignal): Promise<MachineState | null> {
    const late = () => new QrexecError('QREXEC_TIMEOUT', `no attestation within ${lookMilliseconds} ms`)
    const signal = deadline(lookMilliseconds, late, caller)
    try {
      const verdict = await this.#ask(signal)
      return verdict && { time: this.#now(), ...(await this.#known()), ...verdict, error: null }
    } catch (error) {
      if (caller.aborted) throw error
      const known = await this.#known()
      const report = reportOf(error)
      const isRefused = report.kind === 'integrity'
      if (!known.isKnown && !isRefused) throw error
      const state = isRefused ? 'refused' : 'unanswered'
      this.#ports.log.warn('dom0 did not prove its state', { error })
      return { time: this.#now(), state, ...known, store: null, findings: [], error: report }
    }
  }

  /** `null`: dom0 has no TPM. Throws `MACHINE_WITHOUT_TPM` where it had one. */
  async #ask(signal: AbortSignal): Promise<Verdict | null> {
    const { catalogue, dom0, origin, isHardwareRequired } = this.#ports
    this.#verifier ??= await this.#ports.openVerifier()
    const verifier = this.#verifier
    // Before dom0 answers: by then its ledger has all of this, and may have more.
    const ledgerSize = (await catalogue.witness.get(origin))?.size ?? 0
    let answer: AttestAnswer = await dom0.attest(verifier.ask(), signal)
    for (let asked = 0; asked < questionsMax; asked++) {
      if (answer.attested === null) return await this.#withoutTpm()
      // After it: dom0 writes down which store it uses before it answers for it.
      const { now, all } = await this.#inForce(signal)
      const expected: MachineExpectation = { store: now, earlier: all, ledgerSize, isHardwareRequired }
      const examined = await verifier.examine(answer.attested, expected)
      if (examined.kind !== 'asked') return { state: examined.kind, store: now, findings: examined.findings }
      answer = await dom0.attest(examined.question, signal)
    }
    throw new SealError('SEAL_ENROLMENT_WRONG', 'another machine answers each time')
  }

  async #withoutTpm(): Promise<null> {
    if (!(await this.#known()).isKnown) return null
    throw new ApiError(
      'MACHINE_WITHOUT_TPM',
      'dom0 says that it has no TPM; the machine that is known has one',
    )
  }

  async #inForce(signal: AbortSignal): Promise<StoresInForce> {
    const { catalogue, dom0, origin, witness } = this.#ports
    await witness.poll(signal)
    const witnessed = await catalogue.witness.get(origin)
    if (witnessed === null) throw new LedgerError('LEDGER_DAMAGED', 'dom0 has shown no checkpoint')
    return await this.#history.follow(witnessed, dom0, signal)
  }

  /** A file that cannot be understood is one of a machine that was known. */
  async #known(): Promise<Pick<MachineState, 'isKnown' | 'machine'>> {
    try {
      const machine = (await this.#verifier?.known()) ?? null
      return { isKnown: this.#verifier === null || machine !== null, machine }
    } catch {
      return { isKnown: true, machine: null }
    }
  }

  /** Each change, and each look that refuses. */
  #tell(before: MachineState | null): void {
    if (this.#latest === null) return
    const { state, findings } = this.#latest
    if (state === before?.state && state !== 'refused') return
    const codes = findings.map(({ code }) => code)
    this.#ports.log[state === 'refused' ? 'error' : 'info'](`the machine is ${state}`, { findings: codes })
  }

  #now(): Date {
    return this.#ports.clock.now()
  }
}
