import type { ProfileName } from '../base/names.ts'
import type { Entry, EntryOf, EntryType } from './entry.ts'
import { LedgerError } from './errors.ts'

/*
 * What the entries say when read in order: which repositories exist, what must be in them, and who ordered what. Pure;
 * restore, check and limits start from here and never from the storage's listing.
 */

/** An entry and its position in the ledger. */
export type Recorded<T extends EntryType> = EntryOf<T> & { readonly entry: number }

/** One repository: a profile in one epoch. Plain data. */
export interface RepositoryHistory
  extends Pick<
    Recorded<'repository'>,
    'entry' | 'time' | 'profile' | 'epoch' | 'repository' | 'keyFile' | 'config'
  > {
  /** Oldest first. Each names the index objects and counts the packs that its job added. */
  readonly snapshots: readonly Recorded<'snapshot'>[]
  /** What was proven of the data, in the order of the ledger. */
  readonly checks: readonly Recorded<'checked'>[]
}

interface GrowingHistory extends RepositoryHistory {
  readonly snapshots: Recorded<'snapshot'>[]
  readonly checks: Recorded<'checked'>[]
}

interface ProfileHistory {
  readonly repositories: Map<number, GrowingHistory>
  readonly snapshotIds: Set<string>
  readonly orders: Recorded<'order'>[]
  readonly releases: Recorded<'release'>[]
}

export class LedgerHistory {
  #size = 0
  #began = new Date(0)
  #configuration: Recorded<'configuration'> | null = null
  readonly #profiles = new Map<ProfileName, ProfileHistory>()

  /** Count of entries read so far. */
  get size(): number {
    return this.#size
  }

  /** The time of the first entry. */
  get began(): Date {
    return this.#began
  }

  /** The sealed configuration that was last recorded as in force. */
  get configuration(): Recorded<'configuration'> | null {
    return this.#configuration
  }

  repository(profile: ProfileName, epoch: number): RepositoryHistory | null {
    return this.#profiles.get(profile)?.repositories.get(epoch) ?? null
  }

  /** By epoch, oldest first. */
  repositories(profile: ProfileName): readonly RepositoryHistory[] {
    const found = [...(this.#profiles.get(profile)?.repositories.values() ?? [])]
    return found.sort((one, other) => one.epoch - other.epoch)
  }

  /** Accepted orders, oldest first. */
  orders(profile: ProfileName): readonly Recorded<'order'>[] {
    return this.#profiles.get(profile)?.orders ?? []
  }

  /** Passphrases that were handed out, oldest first. */
  releases(profile: ProfileName): readonly Recorded<'release'>[] {
    return this.#profiles.get(profile)?.releases ?? []
  }

  /**
   * Reads the next entry; `position` must be `size`. Throws `LEDGER_ENTRY_INVALID`, and then has not changed, when an
   * entry contradicts an earlier one. A repository or snapshot recorded twice in the same words is one: an append whose
   * success could not be reported may have been repeated.
   */
  add(position: number, entry: Entry): void {
    if (position !== this.#size)
      throw new LedgerError('LEDGER_RANGE', `entry ${position} was read where entry ${this.#size} is next`)
    if ((entry.type === 'genesis') !== (position === 0))
      throw invalid(position, position === 0 ? `is '${entry.type}', not genesis` : 'is a second genesis')
    this.#read(position, entry)
    this.#size += 1
  }

  #read(position: number, entry: Entry): void {
    switch (entry.type) {
      case 'configuration':
        this.#configuration = { ...entry, entry: position }
        return
      case 'order':
        this.#of(entry.profile).orders.push({ ...entry, entry: position })
        return
      case 'release':
        this.#of(entry.profile).releases.push({ ...entry, entry: position })
        return
      case 'repository':
        this.#addRepository(position, entry)
        return
      case 'snapshot':
        this.#addSnapshot(position, entry)
        return
      case 'checked':
        this.#addChecked(position, entry)
        return
      case 'genesis':
        this.#began = entry.time
        return
      case 'release-request':
      case 'refusal':
      case 'job':
        return
      default:
        unknownEntry(entry)
    }
  }

  #addRepository(position: number, entry: EntryOf<'repository'>): void {
    const { time, profile, epoch, repository, keyFile, config } = entry
    const known = this.repository(profile, epoch)
    if (known === null)
      this.#of(profile).repositories.set(epoch, {
        entry: position,
        time,
        profile,
        epoch,
        repository,
        keyFile,
        config,
        snapshots: [],
        checks: [],
      })
    else if (
      known.repository !== repository ||
      known.keyFile.id !== keyFile.id ||
      known.config.id !== config.id
    )
      throw invalid(
        position,
        `pins the repository of '${profile}', epoch ${epoch}, otherwise than entry ${known.entry}`,
      )
  }

  #addSnapshot(position: number, entry: EntryOf<'snapshot'>): void {
    const { profile, epoch, repository, snapshot } = entry
    const { repositories, snapshotIds } = this.#of(profile)
    const known = repositories.get(epoch)
    if (known?.repository !== repository)
      throw invalid(position, `is a snapshot of '${profile}', epoch ${epoch}, whose repository is not pinned`)
    if (snapshotIds.has(snapshot.id)) return
    snapshotIds.add(snapshot.id)
    known.snapshots.push({ ...entry, entry: position })
  }

  #addChecked(position: number, entry: EntryOf<'checked'>): void {
    const { profile, epoch, repository, entries } = entry
    const known = this.#of(profile).repositories.get(epoch)
    if (known?.repository !== repository)
      throw invalid(position, `is a check of '${profile}', epoch ${epoch}, whose repository is not pinned`)
    if (entries > position)
      throw invalid(position, `proves something of entry ${entries - 1}, which comes later`)
    known.checks.push({ ...entry, entry: position })
  }

  #of(profile: ProfileName): ProfileHistory {
    const known = this.#profiles.get(profile)
    if (known !== undefined) return known
    const fresh: ProfileHistory = {
      repositories: new Map(),
      snapshotIds: new Set(),
      orders: [],
      releases: [],
    }
    this.#profiles.set(profile, fresh)
    return fresh
  }
}

/** The history of a whole ledger, or `history` after further entries: `readHistory(ledger.entries(history.size), history)`. */
export async function readHistory(
  entries: AsyncIterable<{ readonly index: number; readonly entry: Entry }>,
  history = new LedgerHistory(),
): Promise<LedgerHistory> {
  for await (const { index, entry } of entries) history.add(index, entry)
  return history
}

function unknownEntry(entry: never): never {
  throw new LedgerError('LEDGER_ENTRY_INVALID', `an entry of unknown type: ${(entry as Entry).type}`)
}

function invalid(position: number, message: string): LedgerError {
  return new LedgerError('LEDGER_ENTRY_INVALID', `entry ${position} ${message}`)
}
