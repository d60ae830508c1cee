import { printable } from '../base/errors.ts'
import { RestoreError, type restoreErrors } from './errors.ts'
import type { Verdict } from './protocol.ts'

/** Codes that a sandbox may report; anything else it says is taken for a failed check. */
const reportable = [
  'CHECK_FAILED',
  'STORAGE_ROLLED_BACK',
  'SNAPSHOT_DELETED',
  'RESTORE_DIGEST',
] as const satisfies (keyof typeof restoreErrors)[]

/** Throws the fault that a verdict names; a good one must have proven as many snapshots as were asked for. */
export function requireGood({ fault, snapshots }: Verdict, expected: number): void {
  if (fault !== null) {
    const code = reportable.find(one => one === fault.code) ?? 'CHECK_FAILED'
    throw new RestoreError(code, printable(fault.message))
  }
  if (snapshots !== expected)
    throw new RestoreError(
      'VERDICT_INVALID',
      `the sandbox proved ${snapshots} snapshots; expected ${expected}`,
    )
}
