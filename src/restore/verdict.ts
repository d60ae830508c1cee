import type { Log } from '../base/log.ts'
import { slotsOf } from '../base/slots.ts'
import type { ProvenData } from '../repository/check-report.ts'
import type { ReadingPlan } from '../repository/read-cycle.ts'
import { RestoreError, restoreErrors } from './errors.ts'
import type { Verdict } from './protocol.ts'

/** Codes that a sandbox may report; anything else it says is taken for a failed check. */
const reportable = [
  'CHECK_FAILED',
  'STORAGE_ROLLED_BACK',
  'SNAPSHOT_DELETED',
  'RESTORE_DIGEST',
] as const satisfies (keyof typeof restoreErrors)[]

/** Throws the fault of a verdict, if it has one. */
export function requireGood(verdict: Verdict, expected: number, log: Log): void {
  const fault = faultIn(verdict, expected, log)
  if (fault !== null) throw fault
}

/**
 * The fault that a verdict names; a good one must have proven as many snapshots as were asked for. The sandbox's own
 * words go to dom0's log and no further: it has held the passphrase, and this error is shown to the management VM.
 */
export function faultIn({ fault, snapshots }: Verdict, expected: number, log: Log): RestoreError | null {
  if (fault !== null) {
    const code = reportable.find(one => one === fault.code) ?? 'CHECK_FAILED'
    log.error('a sandbox reports a fault', { code, said: fault.message })
    return new RestoreError(code, `${restoreErrors[code].meaning} The log of dom0 has the particulars.`)
  }
  if (snapshots === expected) return null
  return new RestoreError(
    'VERDICT_INVALID',
    `the sandbox proved ${snapshots} snapshots; expected ${expected}`,
  )
}

/** What a check says that it has read; without a fault it must have read all that it had to. */
export function requireProven({ fault, proven }: Verdict, { order, must }: ReadingPlan): ProvenData | null {
  if (fault !== null) return proven
  const slots = new Set(proven === null ? [] : slotsOf(proven.slots))
  if (proven === null || !order.slice(0, must).every(slot => slots.has(slot)))
    throw new RestoreError(
      'VERDICT_INVALID',
      'the sandbox found no fault, and has not read what it was to read',
    )
  return proven
}
