import type { Checkpoint } from '../ledger/checkpoint.ts'
import { parseEntry } from '../ledger/entry.ts'
import { LedgerError } from '../ledger/errors.ts'
import { LedgerHistory } from '../ledger/history.ts'
import { Frontier, leafHash } from '../ledger/merkle.ts'
import { verifyEntries } from '../ledger/verify.ts'
import type { LedgerPage } from '../qrexec/calls/ledger.ts'

/**
 * What the first `size` entries of dom0's ledger say, which must be those of `checkpoint`: one that this VM has cosigned, so
 * that dom0 cannot show it another ledger than everybody else. `ask` answers the entries from an index on. Throws
 * `LEDGER_DAMAGED`, and what `ask` and a ledger that contradicts itself throw.
 */
export async function readWitnessed(
  checkpoint: Checkpoint,
  ask: (from: number) => Promise<Pick<LedgerPage, 'entries'>>,
  signal: AbortSignal,
): Promise<LedgerHistory> {
  const { size } = checkpoint
  const frontier = new Frontier()
  const history = new LedgerHistory()
  while (frontier.size < size) {
    signal.throwIfAborted()
    const { entries } = await ask(frontier.size)
    if (entries.length === 0)
      throw new LedgerError('LEDGER_DAMAGED', `dom0 sends ${frontier.size} of ${size} entries`)
    for (const bytes of entries.slice(0, size - frontier.size)) {
      history.add(frontier.size, parseEntry(bytes))
      frontier.push(leafHash(bytes))
    }
  }
  // Before anything is done by what they say.
  verifyEntries([], checkpoint, frontier)
  return history
}
