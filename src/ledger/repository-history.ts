import type { SnapshotId } from '../base/names.ts'
import type { EntryOf, EntryType } from './entry.ts'
import { LedgerError } from './errors.ts'

/** An entry and its position in the ledger. */
export type Recorded<T extends EntryType> = EntryOf<T> & { readonly entry: number }

/** Index objects that one entry put in force, and the packs that they name. Plain data. */
export interface IndexSet extends Pick<EntryOf<'snapshot'>, 'index' | 'packs'> {
  readonly entry: number
}

type Pinned = Pick<
  Recorded<'repository'>,
  'entry' | 'time' | 'profile' | 'epoch' | 'repository' | 'keyFile' | 'config'
>

/** One repository: a profile in one epoch. Plain data. */
export interface RepositoryHistory extends Pinned {
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
  /** Restore drills, in the order of the ledger, also of snapshots that were forgotten since. */
  readonly drills: readonly Recorded<'drill'>[]
}

/** Grows with the ledger, at the same cost for each entry however many there were before. */
export class GrowingRepository {
  readonly pinned: Pinned
  /** Both in the order in which they were recorded. */
  readonly #snapshots = new Map<SnapshotId, Recorded<'snapshot'>>()
  readonly #indexSets = new Map<number, IndexSet>()
  readonly #forgotten: Recorded<'snapshot'>[] = []
  readonly #holds = new Map<SnapshotId, Date>()
  readonly #checks: Recorded<'checked'>[] = []
  readonly #drills: Recorded<'drill'>[] = []
  /** Positions of all entries that ever put an index in force. */
  readonly #indexEntries = new Set<number>()
  readonly #known = new Set<SnapshotId>()
  #changed: number
  #now: RepositoryHistory | null = null

  constructor({ entry, time, profile, epoch, repository, keyFile, config }: Recorded<'repository'>) {
    this.pinned = { entry, time, profile, epoch, repository, keyFile, config }
    this.#changed = entry
  }

  /** What the entries so far say; those to come do not change it. Copied when it is asked for, not at each entry. */
  get now(): RepositoryHistory {
    this.#now ??= {
      ...this.pinned,
      changed: this.#changed,
      snapshots: [...this.#snapshots.values()],
      forgotten: [...this.#forgotten],
      indexSets: [...this.#indexSets.values()],
      holds: new Map(this.#holds),
      checks: [...this.#checks],
      drills: [...this.#drills],
    }
    return this.#now
  }

  /** A snapshot recorded twice is one: an append whose success could not be reported may have been repeated. */
  addSnapshot(snapshot: Recorded<'snapshot'>): void {
    const { entry, snapshotId } = snapshot
    if (this.#known.has(snapshotId)) return
    this.#known.add(snapshotId)
    this.#snapshots.set(snapshotId, snapshot)
    this.#addIndex(snapshot)
    this.#change(entry)
  }

  forget({ entry, snapshots }: Recorded<'forget'>): void {
    for (const id of snapshots) this.#requireKnown(entry, id)
    const found = [...new Set(snapshots)].flatMap(id => this.#snapshots.get(id) ?? [])
    for (const { snapshotId } of found) this.#snapshots.delete(snapshotId)
    this.#forgotten.push(...found.sort((one, other) => one.entry - other.entry))
    this.#change(entry)
  }

  prune(prune: Recorded<'prune'>): void {
    const { entry, replaces } = prune
    const stranger = replaces.find(one => !this.#indexEntries.has(one))
    if (stranger !== undefined)
      throw invalid(entry, `replaces the index of entry ${stranger}, which has none`)
    for (const one of replaces) this.#indexSets.delete(one)
    this.#addIndex(prune)
    this.#change(entry)
  }

  addChecked(checked: Recorded<'checked'>): void {
    const { entry, entries } = checked
    if (entries > entry) throw invalid(entry, `proves something of entry ${entries - 1}, which comes later`)
    this.#checks.push(checked)
    this.#now = null
  }

  addDrill(drill: Recorded<'drill'>): void {
    this.#requireKnown(drill.entry, drill.snapshotId)
    this.#drills.push(drill)
    this.#now = null
  }

  hold({ entry, snapshotId, until }: Recorded<'hold'>): void {
    this.#requireKnown(entry, snapshotId)
    const longer = Math.max(until.getTime(), this.#holds.get(snapshotId)?.getTime() ?? 0)
    this.#holds.set(snapshotId, new Date(longer))
    this.#now = null
  }

  endHold({ entry, snapshotId }: Recorded<'hold-end'>): void {
    this.#requireKnown(entry, snapshotId)
    this.#holds.delete(snapshotId)
    this.#now = null
  }

  /** `entry` changed which snapshots there are, or which index is in force. */
  #change(entry: number): void {
    this.#changed = entry
    this.#now = null
  }

  #addIndex({ entry, index, packs }: IndexSet): void {
    this.#indexEntries.add(entry)
    if (index.length > 0) this.#indexSets.set(entry, { entry, index, packs })
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
