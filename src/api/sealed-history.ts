import { fromHex } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import type { Digest } from '../base/names.ts'
import { parseEntry } from '../ledger/entry.ts'
import { LedgerError } from '../ledger/errors.ts'
import { Frontier, hashBytes, leafHash } from '../ledger/merkle.ts'
import { verifyEntries } from '../ledger/verify.ts'
import type { StoreClaim } from '../sealing/attestation.ts'
import type { WitnessState } from './catalogue/witness-records.ts'
import type { Dom0Port } from './dom0.ts'

/* Which sealed stores were in force, by the ledger that this VM witnesses: it has no copy of them. */

/** So many of a hostile dom0's are remembered, the newest; an honest one has a few a year. */
const storesMax = 4096

export interface StoresInForce {
  readonly now: StoreClaim
  /** Versions by digest, the present one among them. */
  readonly all: ReadonlyMap<Digest, number>
}

/** In this process only: after a start the ledger is read once from its first entry on. */
export class SealedHistory {
  #frontier = new Frontier()
  #stores: ReadonlyMap<Digest, number> = new Map()

  /**
   * As of the checkpoint that was witnessed, proven entry by entry. Throws `LEDGER_DAMAGED` when what dom0 sends does not lead to
   * it or names no store, and what dom0 throws.
   */
  async follow(
    { origin, size, root }: Pick<WitnessState, 'origin' | 'size' | 'root'>,
    dom0: Pick<Dom0Port, 'ledger'>,
    signal: AbortSignal,
  ): Promise<StoresInForce> {
    const frontier = this.#frontier.clone()
    const stores = new Map(this.#stores)
    while (frontier.size < size) {
      signal.throwIfAborted()
      const { entries } = await dom0.ledger(frontier.size, signal)
      if (entries.length === 0)
        throw new LedgerError('LEDGER_DAMAGED', `dom0 sends ${frontier.size} of ${size} entries`)
      for (const bytes of entries.slice(0, size - frontier.size)) {
        frontier.push(leafHash(bytes))
        const store = storeOf(bytes)
        // One that was in force before is an old one that was put back, and does not count.
        if (store !== null && !stores.has(store.digest)) stores.set(store.digest, store.version)
        for (const [oldest] of stores) if (stores.size > storesMax) stores.delete(oldest)
      }
    }
    verifyEntries([], { origin, size, root: fromHex(root, hashBytes) }, frontier)
    this.#frontier = frontier
    this.#stores = stores
    const [digest, version] = [...stores].at(-1) ?? []
    if (digest === undefined || version === undefined)
      throw new LedgerError('LEDGER_DAMAGED', `none of ${size} entries names a sealed configuration`)
    return { now: { version, digest }, all: stores }
  }
}

/** `null` also for what this version cannot read: it is a leaf of the ledger, and names no store here. */
function storeOf(untrustedEntry: Uint8Array): StoreClaim | null {
  try {
    const entry = parseEntry(untrustedEntry)
    return entry.type === 'configuration' ? { version: entry.version, digest: entry.digest } : null
  } catch (error) {
    if (error instanceof CodedError) return null
    throw error
  }
}
