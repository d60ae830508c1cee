import type { X509Certificate } from 'node:crypto'
import path from 'node:path'
import { toHex, utf8 } from '../base/bytes.ts'
import type { Clock, Entropy } from '../base/environment.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { Secret } from '../base/secret.ts'
import { Serially } from '../base/serially.ts'
import type { Attested, Question } from '../qrexec/calls/attest.ts'
import { parseAttest, type TpmTime } from '../tpm/public/attest.ts'
import { parsePublicArea } from '../tpm/public/public-area.ts'
import { type Attestation, parseAttestation, type StoreClaim } from './attestation.ts'
import { challengeMachine, type EnrolmentOffer, enrol, judgeTpm } from './enrolment.ts'
import { parsingAs } from './errors.ts'
import { type Finding, finding } from './findings.ts'
import { reportingIo } from './io.ts'
import {
  type EnrolledMachine,
  encodeNumber64,
  isNumber64,
  keyDigest,
  machineFile,
  pinMachine,
  readMachine,
} from './machine.ts'
import { type AttestationVerdict, verifyAttestation } from './verify-attestation.ts'

/*
 * What a VM that relies on dom0 keeps of it: which TPM answered the first time, what it told last, which stores were in force, and
 * the questions that are open. `machine.json` and `attested.json` in its directory.
 */

const questionsMax = 16
/** A machine answers in a second; a question that is open for longer is nobody's. */
const questionMilliseconds = 120_000
const storesMax = 64
const memoryBytesMax = 16 * 1024

export interface VerifierOptions {
  readonly directory: string
  readonly clock: Clock
  readonly entropy: Entropy
  /** Of makers of TPMs, whose word counts; none: no TPM is proven to be hardware. */
  readonly roots: readonly X509Certificate[]
}

export interface MachineExpectation {
  /** What is in force here. */
  readonly store: StoreClaim
  /** Versions of the stores before it, by digest, for one who has their history; those that were in force here count anyway. */
  readonly earlier?: ReadonlyMap<Digest, number>
  /** Entries that the ledger of dom0 has at least. */
  readonly ledgerSize: number
  readonly isHardwareRequired: boolean
}

export type Examined =
  | { readonly kind: 'accepted'; readonly findings: readonly Finding[] }
  | { readonly kind: 'refused'; readonly findings: readonly Finding[] }
  /** It is new here: it must prove first that its keys are in one TPM. */
  | { readonly kind: 'asked'; readonly question: Question }

interface OpenQuestion {
  readonly until: number
  readonly challenge: { readonly attestationKey: Digest; readonly expected: Secret } | null
}

interface Memory {
  readonly since: TpmTime | null
  readonly stores: readonly StoreClaim[]
}

const shape = fields('attested', {
  v: is.literal(1),
  type: is.literal('attested'),
  since: is.nullable(
    fields('since', { clock: isNumber64, resetCount: is.integer(), restartCount: is.integer() }),
  ),
  stores: is.array(fields('store', { version: is.integer(1), digest: is.name(parseDigest) }), storesMax),
})

export class AttestationVerifier {
  readonly #options: VerifierOptions
  readonly #questions = new Map<Digest, OpenQuestion>()
  readonly #one = new Serially()
  #memory: Memory

  private constructor(options: VerifierOptions, memory: Memory) {
    this.#options = options
    this.#memory = memory
  }

  /** Throws `SEAL_MACHINE_INVALID` for a memory that cannot be understood: an alarm, not a beginning. */
  static async open(options: VerifierOptions): Promise<AttestationVerifier> {
    const bytes = await reportingIo(() => readBounded(memoryFile(options), memoryBytesMax))
    const memory = bytes === null ? { since: null, stores: [] } : bytes.parse(parseMemory)
    await readMachine(machineFile(options.directory))
    return new AttestationVerifier(options, memory)
  }

  /** As the file has it now: a person may have removed it meanwhile. Throws `SEAL_MACHINE_INVALID`. */
  known(): Promise<EnrolledMachine | null> {
    return readMachine(machineFile(this.#options.directory))
  }

  ask(): Question {
    return this.#ask(null)
  }

  /** Each question is answered once. Throws a `CodedError` for what is no answer at all. */
  examine(untrusted: Attested, expected: MachineExpectation): Promise<Examined> {
    return this.#one.run(() => this.#examine(untrusted, expected))
  }

  async #examine(untrusted: Attested, expected: MachineExpectation): Promise<Examined> {
    const attestation = parseAttestation(untrusted.attestation)
    const question = this.#take(attestation.nonce)
    if (question === null)
      return refused(finding('ATTEST_REPLAYED', 'It answers no question that is open here.'))
    using held = new DisposableStack()
    if (question.challenge !== null) held.use(question.challenge.expected)
    const known = await this.known()
    if (known !== null) return await this.#judge(attestation, known, expected, this.#memory.since)
    const offer: EnrolmentOffer = {
      endorsementKey: parsePublicArea(untrusted.endorsementKey),
      attestationKey: parsePublicArea(untrusted.attestationKey),
    }
    const { challenge } = question
    if (challenge === null || challenge.attestationKey !== keyDigest(offer.attestationKey))
      return { kind: 'asked', question: this.#ask(offer) }
    using answer = Secret.take(untrusted.activated ?? new Uint8Array())
    const machine = enrol(offer, challenge.expected, answer, {
      ...judgeTpm(offer, this.#evidence(untrusted), this.#options.clock.now()),
      firmware: parseAttest(attestation.quote.attest).firmware,
      storePcr: untrusted.storePcr,
      platform: attestation.pcrs.filter(({ pcr }) => pcr !== untrusted.storePcr),
      counter: untrusted.counter,
    })
    // What another TPM told before says nothing about this one.
    const examined = await this.#judge(attestation, machine, expected, null)
    // One that is in no good state is not believed to be the one to know.
    if (examined.kind === 'accepted') await pinMachine(machineFile(this.#options.directory), machine)
    return examined
  }

  async #judge(
    attestation: Attestation,
    machine: EnrolledMachine,
    { store, earlier = new Map(), ledgerSize, isHardwareRequired }: MachineExpectation,
    since: TpmTime | null,
  ): Promise<Examined> {
    const remembered = this.#memory.stores.map(one => [one.digest, one.version] as const)
    const verdict: AttestationVerdict = verifyAttestation(attestation, {
      nonce: attestation.nonce,
      machine,
      store,
      earlier: new Map([...earlier, ...remembered]),
      since,
      ledgerSize,
      isHardwareRequired,
    })
    if (!verdict.isAccepted) return { kind: 'refused', findings: verdict.findings }
    await this.#remember(verdict.time, store)
    return { kind: 'accepted', findings: verdict.findings }
  }

  #evidence({ certificate, software }: Attested) {
    return { certificate, roots: this.#options.roots, intermediates: [], saysSoftware: software }
  }

  /** What is in force now is an earlier one once there is a newer. */
  async #remember(since: TpmTime | null, { version, digest }: StoreClaim): Promise<void> {
    const others = this.#memory.stores.filter(one => one.digest !== digest)
    const memory: Memory = { since, stores: [...others, { version, digest }].slice(-storesMax) }
    const text = JSON.stringify({
      v: 1,
      type: 'attested',
      since: since && { ...since, clock: encodeNumber64(since.clock) },
      stores: memory.stores,
    })
    await reportingIo(() => writeDurably(memoryFile(this.#options), utf8(`${text}\n`), 0o600))
    this.#memory = memory
  }

  #ask(offer: EnrolmentOffer | null): Question {
    const { clock, entropy } = this.#options
    this.#forgetLate()
    const nonce = parseDigest(toHex(entropy.bytes(32)))
    const challenge = offer === null ? null : challengeMachine(offer, entropy)
    this.#questions.set(nonce, {
      until: clock.monotonic() + questionMilliseconds,
      challenge:
        offer === null || challenge === null
          ? null
          : { attestationKey: keyDigest(offer.attestationKey), expected: challenge.expected },
    })
    return { nonce, credential: challenge?.credential ?? null }
  }

  #take(nonce: Digest): OpenQuestion | null {
    this.#forgetLate()
    const question = this.#questions.get(nonce) ?? null
    this.#questions.delete(nonce)
    return question
  }

  /** Those whose time is over, and the oldest when there are too many. */
  #forgetLate(): void {
    const now = this.#options.clock.monotonic()
    for (const [nonce, { until, challenge }] of this.#questions)
      if (until <= now || this.#questions.size >= questionsMax) {
        challenge?.expected.dispose()
        this.#questions.delete(nonce)
      }
  }
}

function refused(...findings: readonly Finding[]): Examined {
  return { kind: 'refused', findings }
}

function parseMemory(untrustedBytes: Uint8Array): Memory {
  return parsingAs('SEAL_MACHINE_INVALID', 'attested.json', () => {
    const { since, stores } = shape(parseJson(untrustedBytes, { bytesMax: memoryBytesMax }))
    return { since, stores }
  })
}

function memoryFile({ directory }: VerifierOptions): string {
  return path.join(directory, 'attested.json')
}
