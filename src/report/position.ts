import { equalConstantTime } from '../base/bytes.ts'
import { openCopy } from '../ledger/copy-on-disk.ts'
import { parseEntry } from '../ledger/entry.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { ReportError } from './errors.ts'
import type { DrillReport } from './report.ts'

/**
 * That the ledger in `directory`, dom0's or a copy of it, has passed through the checkpoint of the report, and has the snapshot
 * in its place. Answers the size of that ledger. Reads only, and believes nothing that its signed checkpoint does not lead to. Throws
 * `REPORT_NOT_IN_LEDGER`, `REPORT_AHEAD_OF_LEDGER`, or what `openCopy` throws.
 */
export async function requireInLedger(
  { ledger, snapshot, profile, epoch }: DrillReport,
  directory: string,
  key: VerifierKey,
): Promise<number> {
  const copy = await openCopy(directory, key)
  if (copy.size < ledger.size)
    throw new ReportError(
      'REPORT_AHEAD_OF_LEDGER',
      `the ledger has ${copy.size} entries; the report was made at ${ledger.size}`,
    )
  if (!equalConstantTime(await copy.root(ledger.size), ledger.root))
    throw notThere(`its first ${ledger.size} entries are not those that the report was made at`)
  const bytes = await copy.entry(snapshot.entry)
  if (bytes === undefined) throw notThere(`it has no entry ${snapshot.entry}`)
  const entry = parseEntry(bytes)
  if (entry.type !== 'snapshot' || entry.snapshotId !== snapshot.id)
    throw notThere(`entry ${snapshot.entry} is not the snapshot of the report`)
  const isSame =
    entry.profile === profile &&
    entry.epoch === epoch &&
    entry.manifest === snapshot.manifest &&
    entry.time.getTime() === snapshot.time.getTime()
  if (!isSame) throw notThere(`entry ${snapshot.entry} says otherwise of the snapshot than the report`)
  return copy.size
}

function notThere(message: string): ReportError {
  return new ReportError('REPORT_NOT_IN_LEDGER', `the ledger: ${message}`)
}
