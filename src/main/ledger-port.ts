import type { ProfileName, VmName } from '../base/names.ts'
import type { LedgerPort } from '../engine/ports.ts'
import type { Entry } from '../ledger/entry.ts'
import { type LedgerHistory, type RepositoryHistory, readHistory } from '../ledger/history.ts'
import type { Ledger } from '../ledger/log.ts'

/** The ledger with what its entries add up to, kept in step with every append. */
export class RecordedLedger implements LedgerPort {
  readonly #ledger: Ledger
  readonly #history: LedgerHistory
  readonly #publish: (hsmVm: VmName, signal: AbortSignal) => Promise<void>
  #queue: Promise<unknown> = Promise.resolve()

  private constructor(
    ledger: Ledger,
    history: LedgerHistory,
    publish: (hsmVm: VmName, signal: AbortSignal) => Promise<void>,
  ) {
    this.#ledger = ledger
    this.#history = history
    this.#publish = publish
  }

  /** Reads the whole ledger once. */
  static async open(
    ledger: Ledger,
    publish: (hsmVm: VmName, signal: AbortSignal) => Promise<void>,
  ): Promise<RecordedLedger> {
    return new RecordedLedger(ledger, await readHistory(ledger.entries()), publish)
  }

  get size(): number {
    return this.#ledger.size
  }

  get history(): LedgerHistory {
    return this.#history
  }

  /** After a failure the ledger may hold the entries all the same: what it holds is what counts. */
  append(entries: readonly Entry[]): Promise<number> {
    const appended = this.#queue.then(async () => {
      try {
        return (await this.#ledger.append(entries)).index
      } finally {
        await readHistory(this.#ledger.entries(this.#history.size), this.#history)
      }
    })
    this.#queue = appended.catch(() => {})
    return appended
  }

  repository(profile: ProfileName, epoch: number): RepositoryHistory | null {
    return this.#history.repository(profile, epoch)
  }

  orders(profile: ProfileName): readonly Date[] {
    return this.#history
      .orders(profile)
      .filter(({ kind }) => kind === 'backup')
      .map(({ time }) => time)
  }

  publish(hsmVm: VmName, signal: AbortSignal): Promise<void> {
    return this.#publish(hsmVm, signal)
  }
}
