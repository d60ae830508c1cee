import type { CheckReport } from '../../repository/check-report.ts'
import type { Task, Verdict } from '../protocol.ts'

const faultsNamedMax = 3

/**
 * What a check found, in one code. If the newest snapshots are missing together with all index objects that came with
 * them, an older state of the storage was put back; if only snapshot objects are missing, they were deleted.
 */
export function faultOf(expected: Task['snapshots'], report: CheckReport): Verdict['fault'] {
  if (report.sound) return null
  const missing = new Set(report.missingSnapshots)
  const lost = expected.filter(({ snapshot }) => missing.has(snapshot.id))
  if (lost.length === 0) return { code: 'CHECK_FAILED', message: describe(report) }
  if (wasRolledBack(expected, lost, report))
    return {
      code: 'STORAGE_ROLLED_BACK',
      message: `storage was rolled back: the newest ${lost.length} of ${expected.length} snapshots are missing with all that came with them`,
    }
  const names = lost.slice(-faultsNamedMax).map(({ snapshot }) => snapshot.id.slice(0, 12))
  return {
    code: 'SNAPSHOT_DELETED',
    message: `storage lacks ${lost.length} of ${expected.length} snapshots that the ledger lists, e.g. ${names.join(', ')}`,
  }
}

function wasRolledBack(expected: Task['snapshots'], lost: Task['snapshots'], report: CheckReport): boolean {
  const newest = expected.slice(-lost.length)
  const missingIndex = new Set(report.missingIndex)
  const indexes = lost.flatMap(({ index }) => index)
  return (
    lost.length < expected.length &&
    newest.every(one => lost.includes(one)) &&
    indexes.length > 0 &&
    indexes.every(({ id }) => missingIndex.has(id))
  )
}

function describe({ errors, errorCount, missingPinned, missingIndex, missingPacks }: CheckReport): string {
  const lists = [
    ['key file or config', missingPinned],
    ['index', missingIndex],
    ['packs', missingPacks],
  ] as const
  const faults = lists
    .filter(([, ids]) => ids.length > 0)
    .map(([what, ids]) => `${ids.length} missing: ${what}`)
  const first = errors.slice(0, faultsNamedMax).map(({ message }) => message)
  if (errorCount > 0) faults.push(`${errorCount} wrong, e.g. ${first.join('; ')}`)
  return faults.join('; ')
}
