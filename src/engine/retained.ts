import type { SnapshotId } from '../base/names.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import { type Judged, judgeRetention, type Retention } from '../profiles/retention.ts'

/**
 * What the retention says of a profile's snapshots in all of `histories`, oldest first; without retention, that all of them
 * stay. Epochs do not matter to it: a snapshot is kept, or not, whatever key it was stored under.
 */
export function judgeSnapshots(
  retention: Retention | null,
  histories: readonly RepositoryHistory[],
  now: Date,
): readonly Judged<Recorded<'snapshot'>>[] {
  const snapshots = histories
    .flatMap(history => history.snapshots)
    .sort((one, other) => one.entry - other.entry)
  if (retention === null) return snapshots.map(snapshot => ({ snapshot, reasons: ['no-retention'] }))
  return judgeRetention(retention, snapshots, id => heldUntil(histories, id), now)
}

export function heldUntil(histories: readonly RepositoryHistory[], id: SnapshotId): Date | null {
  return histories.map(({ holds }) => holds.get(id)).find(date => date !== undefined) ?? null
}

/** Those that no rule keeps. */
export function forgettable(
  judged: readonly Judged<Recorded<'snapshot'>>[],
): readonly Recorded<'snapshot'>[] {
  return judged.filter(({ reasons }) => reasons.length === 0).map(({ snapshot }) => snapshot)
}
