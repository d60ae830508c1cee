import type { CheckReport } from '../../repository/check-report.ts'
import type { History, Verdict } from '../protocol.ts'

const faultsNamedMax = 3

/**
 * What a check found, in one code. If everything that was recorded from some entry of the ledger on is missing, an older
 * state of the storage was put back; if only snapshot objects are missing, they were deleted.
 */
export function faultOf(expected: History, report: CheckReport): Verdict['fault'] {
  if (report.sound) return null
  const back = rolledBackTo(partsOf(expected, report))
  if (back !== null)
    return {
      code: 'STORAGE_ROLLED_BACK',
      message: `storage was rolled back: all that was recorded from entry ${back} of the ledger on is missing`,
    }
  const missing = new Set(report.missingSnapshots)
  const { snapshots } = expected
  const lost = snapshots.filter(({ snapshot }) => missing.has(snapshot.id))
  if (lost.length === 0) return { code: 'CHECK_FAILED', message: describe(report) }
  const names = lost.slice(-faultsNamedMax).map(({ snapshot }) => snapshot.id.slice(0, 12))
  return {
    code: 'SNAPSHOT_DELETED',
    message: `storage lacks ${lost.length} of ${snapshots.length} snapshots that the ledger lists, e.g. ${names.join(', ')}`,
  }
}

/** Something that storage got with one entry of the ledger: a snapshot, or index objects. */
interface Part {
  readonly entry: number
  readonly lost: boolean
}

function partsOf({ snapshots, indexSets }: History, report: CheckReport): readonly Part[] {
  const missingSnapshots = new Set(report.missingSnapshots)
  const missingIndex = new Set(report.missingIndex)
  return [
    ...snapshots.map(({ entry, snapshot }) => ({ entry, lost: missingSnapshots.has(snapshot.id) })),
    ...indexSets.map(({ entry, index }) => ({ entry, lost: index.every(({ id }) => missingIndex.has(id)) })),
  ]
}

/** The entry from which on everything is lost while something older is there; `null`: not that. */
function rolledBackTo(parts: readonly Part[]): number | null {
  const first = Math.min(...parts.filter(({ lost }) => lost).map(({ entry }) => entry))
  const rolledBack =
    parts.some(({ entry }) => entry < first) && parts.every(({ entry, lost }) => lost || entry < first)
  return Number.isFinite(first) && rolledBack ? first : null
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
