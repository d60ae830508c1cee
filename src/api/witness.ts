import type { Milliseconds } from '../base/brand.ts'
import { fromHex, toHex } from '../base/bytes.ts'
import type { Clock } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import { Serially } from '../base/serially.ts'
import { Untrusted } from '../base/untrusted.ts'
import { LedgerError } from '../ledger/errors.ts'
import { emptyRoot, hashBytes } from '../ledger/merkle.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { cosign } from '../ledger/signing.ts'
import { examine, type Witness } from '../ledger/witness.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { WitnessState } from './catalogue/witness-records.ts'
import type { Dom0Port } from './dom0.ts'
import { KeptLedger } from './ledger-copy.ts'

export const pollMilliseconds: Milliseconds = 60_000

export interface WitnessPorts {
  readonly clock: Clock
  readonly catalogue: Catalogue
  readonly dom0: Dom0Port
  readonly log: Log
  /** Of dom0's ledger, from the sealed configuration. */
  readonly ledgerKey: VerifierKey
  readonly witness: Witness
}

/**
 * The management VM as a witness of dom0's ledger: it remembers the newest checkpoint that was shown, cosigns only what
 * continues it, and keeps the entries. Anything else raises an alarm that says where the two histories part and stays until a
 * person acknowledges it, and is not cosigned.
 */
export class LedgerWitness {
  readonly #ports: WitnessPorts
  readonly #kept: KeptLedger
  readonly #one = new Serially()
  /** In this process; a cosignature that was lost is made again. */
  #cosignedSize: number | null = null

  constructor(ports: WitnessPorts) {
    this.#ports = ports
    this.#kept = new KeptLedger(ports)
  }

  /** Until `signal`; no failure ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#ports
    while (!signal.aborted) {
      try {
        await this.poll(signal)
      } catch (error) {
        if (!signal.aborted) log.warn('the witness could not follow the ledger', { error })
      }
      await clock.sleep(pollMilliseconds, signal).catch(() => {})
    }
  }

  /** One look at the ledger. An alarm is recorded, not thrown; what dom0 or the catalogue throw is. */
  poll(signal: AbortSignal): Promise<void> {
    return this.#one.run(() => this.#poll(signal))
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { clock, catalogue, dom0, ledgerKey, witness } = this.#ports
    const before = await catalogue.witness.get(ledgerKey.name)
    const page = await dom0.ledger(before?.size ?? 0, signal)
    const next = this.#examine(before, page.checkpoint, page.consistency)
    if (next instanceof LedgerError) return this.#raise(before, next, signal)
    const now = clock.now()
    await catalogue.witness.put({
      ...next,
      root: toHex(next.root),
      checkpoint: page.checkpoint,
      seen: now,
      alarm: before?.alarm ?? null,
    })
    if (next.size !== this.#cosignedSize) {
      const cosignature = await cosign(next, witness.name, witness.signer, now)
      await dom0.cosign({ size: next.size, cosignature }, signal)
      this.#cosignedSize = next.size
    }
    await this.#kept.follow(next, { from: before?.size ?? 0, entries: page.entries }, signal)
  }

  #examine(before: WitnessState | null, checkpoint: string, consistency: readonly Uint8Array[]) {
    const known =
      before === null
        ? null
        : { origin: before.origin, size: before.size, root: fromHex(before.root, hashBytes) }
    try {
      const submission = {
        checkpoint: new Untrusted(checkpoint),
        fromSize: known?.size ?? 0,
        proof: consistency,
      }
      return examine(known, submission, this.#ports.ledgerKey)
    } catch (error) {
      if (error instanceof LedgerError) return error
      return new LedgerError('LEDGER_PROOF_INVALID', 'the consistency proof is malformed', { cause: error })
    }
  }

  async #raise(before: WitnessState | null, error: LedgerError, signal: AbortSignal): Promise<void> {
    const { clock, catalogue, log, ledgerKey } = this.#ports
    const where = before?.alarm == null ? await this.#difference(error, signal) : ''
    log.error('dom0 shows a ledger that does not continue the one it showed before', { error, where })
    const nothingSeen = {
      origin: ledgerKey.name,
      size: 0,
      root: toHex(emptyRoot()),
      checkpoint: '',
      seen: clock.now(),
    }
    const state = before ?? { ...nothingSeen, alarm: null }
    // The first alarm is the evidence; what follows it may be the attempt to cover it.
    const message = where === '' ? error.message : `${error.message}: ${where}`
    const alarm = state.alarm ?? { code: error.code, message, time: clock.now() }
    await catalogue.witness.put({ ...state, alarm })
  }

  /** Empty when it cannot be found: the alarm does not wait for that. */
  async #difference({ code }: LedgerError, signal: AbortSignal): Promise<string> {
    if (code !== 'LEDGER_BACKWARDS' && code !== 'LEDGER_FORKED') return ''
    try {
      return await this.#kept.difference(signal)
    } catch (error) {
      this.#ports.log.warn('where the two ledgers part could not be found', { error })
      return ''
    }
  }
}
