import { equalConstantTime } from '../base/bytes.ts'
import { Untrusted } from '../base/untrusted.ts'
import { type Checkpoint, verifyCheckpoint } from '../ledger/checkpoint.ts'
import { copyOfEntries, entryText, sharedByProof } from '../ledger/copies.ts'
import { LedgerError } from '../ledger/errors.ts'
import { Frontier, leafHash, verifyConsistency } from '../ledger/merkle.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { verifyEntries } from '../ledger/verify.ts'
import type { Catalogue } from './catalogue/catalogue.ts'
import type { Dom0Port } from './dom0.ts'

/*
 * The management VM's own copy of the entries of dom0's ledger, as far as it has witnessed them: with it two histories can be
 * compared, and not only be seen to differ.
 */

const rowsAtOnce = 500
/** Of dom0 at one look: however large a ledger it claims, and however slowly it sends, the next look is not far. */
const pagesMax = 8

export interface LedgerCopyPorts {
  readonly catalogue: Pick<Catalogue, 'witness'>
  readonly dom0: Pick<Dom0Port, 'ledger'>
  readonly ledgerKey: VerifierKey
}

export class KeptLedger {
  readonly #ports: LedgerCopyPorts
  /** Of what is kept; read once. */
  #frontier: Frontier | null = null

  constructor(ports: LedgerCopyPorts) {
    this.#ports = ports
  }

  /**
   * Keeps the entries up to a checkpoint that was witnessed, or as many of them as are fetched at once: the next call goes on there.
   * `offered` are some that dom0 has sent already. Throws `LEDGER_DAMAGED` when what dom0 sends does not lead to it, and what dom0
   * throws; nothing of that is kept.
   */
  async follow(
    checkpoint: Checkpoint,
    offered: { readonly from: number; readonly entries: readonly Uint8Array[] },
    signal: AbortSignal,
  ): Promise<void> {
    const { catalogue, dom0, ledgerKey } = this.#ports
    const frontier = (await this.#known()).clone()
    const first = frontier.size
    const added: Uint8Array[] = []
    for (let page = 0; page < pagesMax && frontier.size < checkpoint.size; page++) {
      signal.throwIfAborted()
      const { size } = frontier
      const { entries } = size === offered.from ? offered : await dom0.ledger(size, signal)
      if (entries.length === 0)
        throw new LedgerError('LEDGER_DAMAGED', `dom0 sends ${size} of ${checkpoint.size} entries`)
      for (const bytes of entries.slice(0, checkpoint.size - size)) {
        frontier.push(leafHash(bytes))
        added.push(bytes)
      }
    }
    if (added.length === 0) return
    if (frontier.size === checkpoint.size) verifyEntries([], checkpoint, frontier)
    else if (!(await this.#isBeginning(frontier, checkpoint, signal))) return
    await catalogue.witness.addEntries(ledgerKey.name, first, added)
    this.#frontier = frontier
  }

  /** In words, where the ledger that dom0 shows parts from what is kept here, by the proofs that dom0 gives. */
  async difference(signal: AbortSignal): Promise<string> {
    const { dom0, ledgerKey } = this.#ports
    const kept = await keptEntries(this.#ports)
    const show = async (from: number) => {
      const { checkpoint, consistency } = await dom0.ledger(from, signal)
      return { checkpoint: verifyCheckpoint(new Untrusted(checkpoint), ledgerKey), consistency }
    }
    const shared = await sharedByProof(copyOfEntries(kept), show)
    const [shown] = (await dom0.ledger(shared, signal)).entries
    return `the first ${shared} entries are the same; entry ${shared} is here ${entryText(kept[shared])}, and dom0 shows ${entryText(shown)}`
  }

  /** `false`: dom0's ledger has grown meanwhile, and the next look will tell. Throws `LEDGER_DAMAGED`. */
  async #isBeginning(frontier: Frontier, { size, root }: Checkpoint, signal: AbortSignal): Promise<boolean> {
    const { dom0, ledgerKey } = this.#ports
    const fromSize = frontier.size
    const { checkpoint, consistency: proof } = await dom0.ledger(fromSize, signal)
    const shown = verifyCheckpoint(new Untrusted(checkpoint), ledgerKey)
    if (shown.size !== size || !equalConstantTime(shown.root, root)) return false
    try {
      verifyConsistency({ fromSize, fromRoot: frontier.root(), size, root, proof })
    } catch (cause) {
      const message = `nothing shows that the ${fromSize} entries that dom0 sends begin those ${size}`
      throw new LedgerError('LEDGER_DAMAGED', message, { cause })
    }
    return true
  }

  async #known(): Promise<Frontier> {
    if (this.#frontier !== null) return this.#frontier
    const frontier = new Frontier()
    for await (const some of parts(this.#ports)) for (const entry of some) frontier.push(leafHash(entry))
    this.#frontier = frontier
    return frontier
  }
}

type Kept = Pick<LedgerCopyPorts, 'catalogue' | 'ledgerKey'>

export async function keptEntries(ports: Kept): Promise<readonly Uint8Array[]> {
  const kept: Uint8Array[] = []
  for await (const some of parts(ports)) kept.push(...some)
  return kept
}

async function* parts({ catalogue, ledgerKey }: Kept): AsyncGenerator<readonly Uint8Array[]> {
  for (let from = 0; ; from += rowsAtOnce) {
    const some = await catalogue.witness.entries(ledgerKey.name, from, rowsAtOnce)
    yield some
    if (some.length < rowsAtOnce) return
  }
}
