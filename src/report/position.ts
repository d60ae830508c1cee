import { equalConstantTime } from '../base/bytes.ts'
import { type Entry, parseEntry } from '../ledger/entry.ts'
import { LedgerError } from '../ledger/errors.ts'
import { diskFiles } from '../ledger/files.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { rootOf } from '../ledger/proofs.ts'
import { type LedgerState, loadState } from '../ledger/stored.ts'
import { tileWidth } from '../ledger/tiles.ts'
import { ReportError } from './errors.ts'
import type { DrillReport } from './report.ts'

/**
 * That the ledger in `directory`, dom0's or a copy of it, has passed through the checkpoint of the report, and has the snapshot
 * in its place. Answers the size of that ledger. Reads only, and believes nothing that its signed checkpoint does not lead to. Throws
 * `REPORT_NOT_IN_LEDGER`, `REPORT_AHEAD_OF_LEDGER`, `LEDGER_MISSING`, `LEDGER_DAMAGED` or `LEDGER_ORIGIN`.
 */
export async function requireInLedger(
  { ledger, snapshot, profile, epoch }: DrillReport,
  directory: string,
  key: VerifierKey,
): Promise<number> {
  const state = await loadState(diskFiles(directory), key)
  if (state === null) throw new LedgerError('LEDGER_MISSING', 'the directory has no checkpoint')
  const { head, tree } = state
  if (head.size < ledger.size)
    throw new ReportError(
      'REPORT_AHEAD_OF_LEDGER',
      `the ledger has ${head.size} entries; the report was made at ${ledger.size}`,
    )
  if (!equalConstantTime(await rootOf(tree, ledger.size), ledger.root))
    throw notThere(`its first ${ledger.size} entries are not those that the report was made at`)
  const entry = await entryAt(state, snapshot.entry)
  if (entry.type !== 'snapshot' || entry.snapshotId !== snapshot.id)
    throw notThere(`entry ${snapshot.entry} is not the snapshot of the report`)
  const isSame =
    entry.profile === profile &&
    entry.epoch === epoch &&
    entry.manifest === snapshot.manifest &&
    entry.time.getTime() === snapshot.time.getTime()
  if (!isSame) throw notThere(`entry ${snapshot.entry} says otherwise of the snapshot than the report`)
  return head.size
}

async function entryAt({ tree }: LedgerState, index: number): Promise<Entry> {
  const bytes = (await tree.bundle(Math.floor(index / tileWidth)))[index % tileWidth]
  if (bytes === undefined) throw notThere(`it has no entry ${index}`)
  return parseEntry(bytes)
}

function notThere(message: string): ReportError {
  return new ReportError('REPORT_NOT_IN_LEDGER', `the ledger: ${message}`)
}
