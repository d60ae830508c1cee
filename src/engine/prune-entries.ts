import type { Digest } from '../base/names.ts'
import { type EntryOf, forgottenPerEntryMax, indexPerPruneMax, replacedPerEntryMax } from '../ledger/entry.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import { type PacksSummary, summariseObjects, summarisePacks } from '../repository/packs-root.ts'
import type { Rewritten } from '../repository/prune.ts'
import type { PrunePlan } from '../repository/prune-plan.ts'
import { listOf, type Removal } from './removal.ts'

export interface PruneRecord {
  readonly time: Date
  readonly job: EntryOf<'prune'>['job']
  readonly history: RepositoryHistory
  readonly configuration: Digest
  readonly forgotten: readonly Recorded<'snapshot'>[]
  readonly plan: Pick<PrunePlan, 'replaced'>
  readonly rewritten: Pick<Rewritten, 'index' | 'added' | 'rewritten'>
  readonly removal: Removal
}

const nothing: PacksSummary = summarisePacks([])

/**
 * All of one prune, to be appended at once: first what is forgotten, then what the repository consists of from now on. A
 * list that is too long for one entry goes on in the next.
 */
export function pruneEntries(record: PruneRecord): {
  readonly forgets: readonly EntryOf<'forget'>[]
  readonly prunes: readonly EntryOf<'prune'>[]
} {
  const { time, job, history, configuration, forgotten, plan, rewritten, removal } = record
  const { profile, repository, epoch } = history
  const common = { time, job, profile, repository, epoch }
  const ids = forgotten.map(({ snapshotId }) => snapshotId)
  const forgets = parts(ids, forgottenPerEntryMax).map(snapshots => ({
    type: 'forget' as const,
    ...common,
    configuration,
    snapshots,
  }))
  const replaces = parts(
    plan.replaced.map(({ entry }) => entry),
    replacedPerEntryMax,
  )
  const indexes = parts(rewritten.index, indexPerPruneMax)
  const count = Math.max(1, replaces.length, indexes.length)
  const prunes = Array.from({ length: count }, (_, at) => {
    const index = indexes[at] ?? []
    const first = at === 0
    return {
      type: 'prune' as const,
      ...common,
      replaces: replaces[at] ?? [],
      index: index.map(({ id, bytes }) => ({ id, bytes })),
      packs: summarisePacks(index.flatMap(({ packs }) => packs)),
      added: first ? summarisePacks(rewritten.added) : nothing,
      removed: first ? summariseObjects(listOf(removal)) : nothing,
      rewritten: first ? summarisePacks(rewritten.rewritten) : nothing,
    }
  })
  return { forgets, prunes }
}

function parts<T>(items: readonly T[], countMax: number): readonly (readonly T[])[] {
  const count = Math.ceil(items.length / countMax)
  return Array.from({ length: count }, (_, at) => items.slice(at * countMax, (at + 1) * countMax))
}
