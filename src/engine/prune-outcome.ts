import { bytesText } from '../base/quantities.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import { sum } from '../repository/pack-fates.ts'
import type { Rewritten } from '../repository/prune.ts'
import type { PrunePlan } from '../repository/prune-plan.ts'
import type { Removed } from './removal.ts'

export interface Pruned {
  readonly dryRun: boolean
  /** Before the prune. */
  readonly history: RepositoryHistory
  readonly forgotten: readonly Recorded<'snapshot'>[]
  readonly plan: PrunePlan
  readonly rewritten: Pick<Rewritten, 'index' | 'added' | 'rewritten' | 'leftForWantOfRoom'>
  readonly removed: Removed
}

export function pruneOutcome(pruned: Pruned): Outcome {
  const { dryRun, history, forgotten, rewritten, removed } = pruned
  return {
    snapshot: undefined,
    bytes: undefined,
    bytesStored: sum([...rewritten.added, ...rewritten.index], ({ bytes }) => bytes),
    volumes: undefined,
    warnings: warningsOf(pruned),
    objects: undefined,
    snapshots: history.snapshots.length - forgotten.length,
    drill: undefined,
    prune: {
      dryRun,
      forgotten: forgotten.length,
      packsRemoved: removed.packs,
      packsRewritten: rewritten.rewritten.length,
      bytesFreed: removed.bytes,
    },
  }
}

function warningsOf({ history, plan, rewritten, removed }: Pruned): string[] {
  const warnings: string[] = []
  if (removed.left > 0)
    warnings.push(
      `${removed.left} objects of ${bytesText(removed.leftBytes)} stay for now: the storage does not remove them yet, or ` +
        'they are needed by one that it does not; the next prune tries again',
    )
  if (rewritten.leftForWantOfRoom > 0)
    warnings.push(`${rewritten.leftForWantOfRoom} packs were not rewritten: the storage has no room`)
  const known = new Set([...history.snapshots, ...history.forgotten].map(({ snapshot }) => snapshot.id))
  const strangers = [...plan.listedSnapshots.keys()].filter(id => !known.has(id)).length
  if (strangers > 0)
    warnings.push(`${strangers} snapshot objects in storage are not the ledger’s, and were left alone`)
  return warnings
}
