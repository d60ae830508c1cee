import { printable } from '../base/errors.ts'
import type { RepositoryHistory } from '../ledger/history.ts'
import { RestoreError, type restoreErrors } from './errors.ts'
import type { Verdict } from './protocol.ts'

/** Codes that a sandbox may report; anything else it says is taken for a failed check. */
const reportable = [
  'CHECK_FAILED',
  'STORAGE_ROLLED_BACK',
  'SNAPSHOT_DELETED',
  'RESTORE_DIGEST',
] as const satisfies (keyof typeof restoreErrors)[]

/** Throws the fault that a verdict names; a good one must have proven every snapshot of the ledger. */
export function requireGood(history: RepositoryHistory, { fault, snapshots }: Verdict): void {
  if (fault !== null) {
    const code = reportable.find(one => one === fault.code) ?? 'CHECK_FAILED'
    throw new RestoreError(code, printable(fault.message))
  }
  if (snapshots > history.snapshots.length)
    throw new RestoreError('VERDICT_INVALID', 'the sandbox claims more snapshots than the ledger has')
}
