import type { Log } from '../base/log.ts'
import { RestoreError, restoreErrors } from './errors.ts'
import type { Verdict } from './protocol.ts'

/** Codes that a sandbox may report; anything else it says is taken for a failed check. */
const reportable = [
  'CHECK_FAILED',
  'STORAGE_ROLLED_BACK',
  'SNAPSHOT_DELETED',
  'RESTORE_DIGEST',
] as const satisfies (keyof typeof restoreErrors)[]

/**
 * Throws the fault that a verdict names; a good one must have proven as many snapshots as were asked for. The sandbox's
 * own words go to dom0's log and no further: it has held the passphrase, and what this throws is shown to the
 * management VM.
 */
export function requireGood({ fault, snapshots }: Verdict, expected: number, log: Log): void {
  if (fault !== null) {
    const code = reportable.find(one => one === fault.code) ?? 'CHECK_FAILED'
    log.error('a sandbox reports a fault', { code, said: fault.message })
    throw new RestoreError(code, `${restoreErrors[code].meaning} The log of dom0 has the particulars.`)
  }
  if (snapshots !== expected)
    throw new RestoreError(
      'VERDICT_INVALID',
      `the sandbox proved ${snapshots} snapshots; expected ${expected}`,
    )
}
