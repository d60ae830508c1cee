import { toBase64 } from '../base/bytes.ts'
import type { ProfileName, VmName } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import type { LedgerPort } from '../engine/ports.ts'
import type { Checkpoint } from '../ledger/checkpoint.ts'
import type { Entry, EntryOf } from '../ledger/entry.ts'
import { type LedgerHistory, readHistory } from '../ledger/history.ts'
import type { Ledger } from '../ledger/log.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'

type Publish = (hsmVm: VmName, signal: AbortSignal) => Promise<void>
/** Keeps the newest head where it outlives the ledger's own directory. */
type Remember = (head: Checkpoint) => Promise<void>

/** The ledger with what its entries add up to, kept in step with every append. */
export class RecordedLedger implements LedgerPort {
  readonly #ledger: Ledger
  readonly #history: LedgerHistory
  readonly #publish: Publish
  readonly #remember: Remember
  readonly #remembering = new Serially()
  #rememberedSize = 0
  readonly #reading = new Serially()

  private constructor(ledger: Ledger, history: LedgerHistory, publish: Publish, remember: Remember) {
    this.#ledger = ledger
    this.#history = history
    this.#publish = publish
    this.#remember = remember
  }

  /** Reads the whole ledger once. */
  static async open(
    ledger: Ledger,
    publish: Publish,
    remember: Remember = async () => {},
  ): Promise<RecordedLedger> {
    return new RecordedLedger(ledger, await readHistory(ledger.entries()), publish, remember)
  }

  get size(): number {
    return this.#ledger.size
  }

  get root(): string {
    return toBase64(this.#ledger.head.root)
  }

  get history(): LedgerHistory {
    return this.#history
  }

  /** After a failure the ledger may hold the entries all the same: what it holds is what counts. */
  async append(entries: readonly Entry[]): Promise<number> {
    try {
      const { index, size } = await this.#ledger.append(entries)
      await this.#remembering.run(() => this.#rememberAtLeast(size))
      return index
    } finally {
      await this.#reading.run(() => readHistory(this.#ledger.entries(this.#history.size), this.#history))
    }
  }

  /** Those that were appended at once are remembered with one write. */
  async #rememberAtLeast(size: number): Promise<void> {
    if (this.#rememberedSize >= size) return
    const { head } = this.#ledger
    await this.#remember(head)
    this.#rememberedSize = head.size
  }

  repository(profile: ProfileName, epoch: number): RepositoryHistory | null {
    return this.#history.repository(profile, epoch)
  }

  destroyedEpochs(profile: ProfileName): ReadonlyMap<number, number> {
    return this.#history.destroyedEpochs(profile)
  }

  get began(): Date {
    return this.#history.began
  }

  get configured(): Date | null {
    return this.#history.configuration?.time ?? null
  }

  orders(profile: ProfileName): readonly EntryOf<'order'>[] {
    return this.#history.orders(profile)
  }

  publish(hsmVm: VmName, signal: AbortSignal): Promise<void> {
    return this.#publish(hsmVm, signal)
  }
}
