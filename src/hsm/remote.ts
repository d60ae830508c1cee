import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import type { VmName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import { Untrusted } from '../base/untrusted.ts'
import { encodeEntry } from '../ledger/entry.ts'
import type { Transport } from '../qrexec/call.ts'
import type { Attested, Question } from '../qrexec/calls/attest.ts'
import {
  type ReleaseAnswer,
  releasePassphrase,
  type WitnessAhead,
  type WitnessCall,
  witnessLedger,
} from '../qrexec/calls/release.ts'
import { callOver } from '../qrexec/client.ts'
import { HsmError } from './errors.ts'
import { requireSafe } from './passphrase.ts'
import type { PassphraseService, ReleaseRequest } from './passphrase-service.ts'
import { Places } from './places.ts'

/** Longer than the HSM VM's own deadline, so that its reason arrives. */
const timeoutMilliseconds: Milliseconds = 75_000

/** What dom0's ledger can show to a witness. */
export interface LedgerEvidence {
  /** How many entries this witness is known to have cosigned; 0 when that is not known. */
  readonly witnessSize: number
  /** The newest checkpoint, and the proof that it continues the first `from` entries. */
  head(from: number): Promise<{
    readonly checkpoint: string
    readonly size: number
    readonly consistency: readonly Uint8Array[]
  }>
  /** That entry `index` is among the first `size`. */
  inclusion(index: number, size: number): Promise<readonly Uint8Array[]>
  /** Verifies and keeps the witness's line under the checkpoint of `size`; throws when it is not the witness's. */
  cosigned(untrustedLine: Untrusted<string>, size: number): Promise<void>
}

/** dom0's TPM, as far as a release needs it. */
export interface Attestor {
  answer(question: Question, signal: AbortSignal): Promise<Attested>
}

export interface RemoteOptions {
  readonly transport: Transport
  readonly hsmVm: VmName
  readonly ledger: LedgerEvidence
  /** `null`: this machine has no TPM, and is released nothing for which one must answer. */
  readonly attestor: Attestor | null
  readonly clock: Pick<Clock, 'sleep'>
}

/** The first question, one more to a machine that is not known yet, and one that came too late. */
const questionsMax = 3
/** From one look to the next, at a person who decides. */
const pollMilliseconds: Milliseconds = 2_000

/**
 * dom0's half of the HSM VM's calls, one at a time: two that show the ledger at two sizes must not overtake each other. There
 * is one object for each HSM VM.
 */
export class RemoteHsm implements PassphraseService {
  readonly #options: RemoteOptions
  /** How many entries it has cosigned in this process's time; the cosignature may be on its way to the disk. */
  #cosignedSize = 0
  readonly #turns = new Places(1, Number.POSITIVE_INFINITY)

  constructor(options: RemoteOptions) {
    this.#options = options
  }

  /**
   * Throws what `callOver` throws, the HSM VM's own refusals with their codes among it; `HSM_PASSPHRASE_UNSAFE`;
   * `HSM_REFUSED_LEDGER` when the witness has seen more of the ledger than there is.
   */
  async release(
    request: ReleaseRequest,
    entry: number,
    signal: AbortSignal,
    onWaiting: () => void = () => {},
  ): Promise<Secret> {
    const { clock } = this.#options
    let attested: Attested | null = null
    for (let questions = 0; questions <= questionsMax; ) {
      // Each time with the newest checkpoint: the ledger may have grown, and its witness seen it.
      const { answer, size }: { answer: ShownAnswer; size: number } = await this.#ask(
        { request, entry, attested },
        signal,
      )
      if ('pending' in answer) {
        // Until the request expires: then there is another answer.
        onWaiting()
        await clock.sleep(pollMilliseconds, signal)
      } else if ('question' in answer) {
        questions += 1
        attested = await this.#attest(answer.question, signal)
      } else return await this.#taken(answer, size)
    }
    throw new HsmError('HSM_REFUSED_ATTESTATION', 'the HSM VM asks again and again')
  }

  #ask(
    { request, entry, attested }: { request: ReleaseRequest; entry: number; attested: Attested | null },
    signal: AbortSignal,
  ) {
    const { transport, hsmVm, ledger } = this.#options
    return this.#show<ShownAnswer>(async ({ checkpoint, consistency, size }) => {
      const inclusion = await ledger.inclusion(entry, size)
      const shown = { entry: encodeEntry(request), index: entry, checkpoint, inclusion, consistency }
      return await callOver(
        transport,
        releasePassphrase,
        hsmVm,
        request.profile,
        { ...shown, attested },
        signal,
        timeoutMilliseconds,
      )
    }, signal)
  }

  #attest(question: Question, signal: AbortSignal): Promise<Attested> {
    const { attestor } = this.#options
    if (attestor !== null) return attestor.answer(question, signal)
    throw new HsmError(
      'HSM_REFUSED_ATTESTATION',
      'the sealed binding wants an attestation, and this machine has no TPM',
    )
  }

  async #taken({ cosignature, passphrase }: Released, size: number): Promise<Secret> {
    try {
      await this.#options.ledger.cosigned(new Untrusted(cosignature), size)
      passphrase.expose(requireSafe)
      return passphrase
    } catch (error) {
      passphrase.dispose()
      throw error
    }
  }

  /** Has the newest checkpoint cosigned, for which nothing is released. */
  async publish(signal: AbortSignal): Promise<void> {
    const { transport, hsmVm, ledger } = this.#options
    const { answer, size } = await this.#show(
      ({ checkpoint, consistency }) =>
        callOver(
          transport,
          witnessLedger,
          hsmVm,
          '',
          { checkpoint, consistency },
          signal,
          timeoutMilliseconds,
        ),
      signal,
    )
    await ledger.cosigned(new Untrusted(answer.cosignature), size)
  }

  /** Shows the newest checkpoint from where the witness is believed to be, and once more from where it says it is. */
  #show<Answer extends object>(
    show: (shown: Shown) => Promise<Answer | WitnessAhead>,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Answer; readonly size: number }> {
    return this.#turns.use(signal, () => this.#shown(show))
  }

  async #shown<Answer extends object>(
    show: (shown: Shown) => Promise<Answer | WitnessAhead>,
  ): Promise<{ readonly answer: Answer; readonly size: number }> {
    const { ledger } = this.#options
    let from = Math.max(ledger.witnessSize, this.#cosignedSize)
    for (let attempt = 0; attempt < 2; attempt++) {
      const { checkpoint, size, consistency: proof } = await ledger.head(from)
      const answer = await show({ checkpoint, size, consistency: { from, proof } })
      if (!isAhead(answer)) {
        if ('cosignature' in answer) this.#cosignedSize = size
        return { answer, size }
      }
      from = answer.witnessSize
      if (from > size)
        throw new HsmError(
          'HSM_REFUSED_LEDGER',
          `the HSM VM has seen ${from} entries of this ledger, which has ${size}: it was rolled back`,
        )
    }
    throw new HsmError('HSM_REFUSED_LEDGER', 'the HSM VM contradicts itself about what it has seen')
  }
}

function isAhead(answer: object): answer is WitnessAhead {
  return 'witnessSize' in answer
}

type ShownAnswer = Exclude<ReleaseAnswer, WitnessAhead>
type Released = Extract<ReleaseAnswer, { readonly passphrase: Secret }>
type Shown = WitnessCall & { readonly size: number }
