import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import { type Judged, judgeRetention, type Retention } from '../profiles/retention.ts'

/** What the retention says of a repository's snapshots, oldest first; without retention, that all of them stay. */
export function judgeSnapshots(
  retention: Retention | null,
  { snapshots, holds }: RepositoryHistory,
  now: Date,
): readonly Judged<Recorded<'snapshot'>>[] {
  if (retention === null) return snapshots.map(snapshot => ({ snapshot, reasons: ['no-retention'] }))
  return judgeRetention(retention, snapshots, id => holds.get(id) ?? null, now)
}

/** Those that no rule keeps. */
export function forgettable(
  judged: readonly Judged<Recorded<'snapshot'>>[],
): readonly Recorded<'snapshot'>[] {
  return judged.filter(({ reasons }) => reasons.length === 0).map(({ snapshot }) => snapshot)
}
