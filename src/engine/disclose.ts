import { type ErrorReport, reportOf } from '../base/errors.ts'
import { HostError, hostErrors } from '../host/errors.ts'
import { ProfileError, profileErrors } from '../profiles/errors.ts'
import { RemoteError } from '../qrexec/admin-api.ts'

/**
 * What the one who ordered may read of an error. Messages about selections and volumes name VMs, which a management VM
 * that may order need not know: those stay in dom0's log.
 */
export function disclosable(error: unknown): ErrorReport {
  const report = reportOf(error)
  // Only a person here cancels: what another VM calls so has failed.
  if (error instanceof RemoteError && report.kind === 'cancelled') return { ...report, kind: 'failed' }
  if (error instanceof HostError) return { ...report, message: withoutNames(hostErrors[error.code].meaning) }
  if (error instanceof ProfileError)
    return { ...report, message: withoutNames(profileErrors[error.code].meaning) }
  return report
}

function withoutNames(meaning: string): string {
  return `${meaning} Which one is in dom0’s log.`
}
