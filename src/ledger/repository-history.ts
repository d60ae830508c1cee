import type { SnapshotId } from '../base/names.ts'
import type { EntryOf, EntryType } from './entry.ts'
import { LedgerError } from './errors.ts'

/** An entry and its position in the ledger. */
export type Recorded<T extends EntryType> = EntryOf<T> & { readonly entry: number }

/** Index objects that one entry put in force, and the packs that they name. Plain data. */
export interface IndexSet extends Pick<EntryOf<'snapshot'>, 'index' | 'packs'> {
  readonly entry: number
}

/** One repository: a profile in one epoch. Plain data. */
export interface RepositoryHistory
  extends Pick<
    Recorded<'repository'>,
    'entry' | 'time' | 'profile' | 'epoch' | 'repository' | 'keyFile' | 'config'
  > {
  /** Position of the last entry that changed which snapshots there are or which index is in force. */
  readonly changed: number
  /** Oldest first, without those that were forgotten. */
  readonly snapshots: readonly Recorded<'snapshot'>[]
  /** In the order in which they were recorded. */
  readonly forgotten: readonly Recorded<'snapshot'>[]
  /** The index in force, oldest first: what all snapshots together need is named here, and by nothing else. */
  readonly indexSets: readonly IndexSet[]
  /** Until when a snapshot is held; a date that is past is still here. */
  readonly holds: ReadonlyMap<SnapshotId, Date>
  /** What was proven of the data, in the order of the ledger. */
  readonly checks: readonly Recorded<'checked'>[]
}

/** Grows with the ledger. Whoever was given a list before keeps that list. */
export class GrowingRepository implements RepositoryHistory {
  readonly entry: number
  readonly time: Date
  readonly profile: RepositoryHistory['profile']
  readonly epoch: number
  readonly repository: RepositoryHistory['repository']
  readonly keyFile: RepositoryHistory['keyFile']
  readonly config: RepositoryHistory['config']
  changed: number
  snapshots: readonly Recorded<'snapshot'>[] = []
  forgotten: readonly Recorded<'snapshot'>[] = []
  indexSets: readonly IndexSet[] = []
  holds: ReadonlyMap<SnapshotId, Date> = new Map()
  checks: readonly Recorded<'checked'>[] = []
  /** Positions of all entries that ever put an index in force. */
  readonly #indexEntries = new Set<number>()
  readonly #known = new Set<SnapshotId>()

  constructor({ entry, time, profile, epoch, repository, keyFile, config }: Recorded<'repository'>) {
    this.entry = entry
    this.time = time
    this.profile = profile
    this.epoch = epoch
    this.repository = repository
    this.keyFile = keyFile
    this.config = config
    this.changed = entry
  }

  /** A snapshot recorded twice is one: an append whose success could not be reported may have been repeated. */
  addSnapshot(snapshot: Recorded<'snapshot'>): void {
    if (this.#known.has(snapshot.snapshotId)) return
    this.#known.add(snapshot.snapshotId)
    this.snapshots = [...this.snapshots, snapshot]
    this.changed = snapshot.entry
    this.#addIndex(snapshot)
  }

  forget({ entry, snapshots }: Recorded<'forget'>): void {
    for (const id of snapshots) this.#requireKnown(entry, id)
    const wanted = new Set(snapshots)
    this.forgotten = [...this.forgotten, ...this.snapshots.filter(({ snapshotId }) => wanted.has(snapshotId))]
    this.snapshots = this.snapshots.filter(({ snapshotId }) => !wanted.has(snapshotId))
    this.changed = entry
  }

  prune(prune: Recorded<'prune'>): void {
    const { entry, replaces } = prune
    const stranger = replaces.find(one => !this.#indexEntries.has(one))
    if (stranger !== undefined)
      throw invalid(entry, `replaces the index of entry ${stranger}, which has none`)
    const replaced = new Set(replaces)
    this.indexSets = this.indexSets.filter(set => !replaced.has(set.entry))
    this.changed = entry
    this.#addIndex(prune)
  }

  addChecked(checked: Recorded<'checked'>): void {
    const { entry, entries } = checked
    if (entries > entry) throw invalid(entry, `proves something of entry ${entries - 1}, which comes later`)
    this.checks = [...this.checks, checked]
  }

  hold({ entry, snapshotId, until }: Recorded<'hold'>): void {
    this.#requireKnown(entry, snapshotId)
    const longer = Math.max(until.getTime(), this.holds.get(snapshotId)?.getTime() ?? 0)
    this.holds = new Map(this.holds).set(snapshotId, new Date(longer))
  }

  endHold({ entry, snapshotId }: Recorded<'hold-end'>): void {
    this.#requireKnown(entry, snapshotId)
    const left = new Map(this.holds)
    left.delete(snapshotId)
    this.holds = left
  }

  #addIndex({ entry, index, packs }: IndexSet): void {
    this.#indexEntries.add(entry)
    if (index.length > 0) this.indexSets = [...this.indexSets, { entry, index, packs }]
  }

  #requireKnown(entry: number, id: SnapshotId): void {
    if (!this.#known.has(id))
      throw invalid(entry, `names snapshot ${id.slice(0, 12)}…, which was never recorded`)
  }
}

export function invalid(position: number, message: string): LedgerError {
  return new LedgerError('LEDGER_ENTRY_INVALID', `entry ${position} ${message}`)
}

/** Whether the ledger ever had this snapshot, forgotten or not. */
export function wasRecorded(history: RepositoryHistory | null, id: SnapshotId): boolean {
  const isIt = (one: { readonly snapshotId: SnapshotId }) => one.snapshotId === id
  return history !== null && (history.snapshots.some(isIt) || history.forgotten.some(isIt))
}
