import type { ProfileName } from '../base/names.ts'
import type { Entry, EntryOf } from './entry.ts'
import { LedgerError } from './errors.ts'
import { GrowingRepository, invalid, type Recorded, type RepositoryHistory } from './repository-history.ts'

/*
 * What the entries say when read in order: which repositories exist, what must be in them, and who ordered what. Pure;
 * restore, check and limits start from here and never from the storage's listing.
 */

interface ProfileHistory {
  readonly repositories: Map<number, GrowingRepository>
  readonly orders: Recorded<'order'>[]
  readonly releases: Recorded<'release'>[]
  /** By epoch, the position of the entry. */
  readonly destroyed: Map<number, number>
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

  /** As of the last entry: those to come do not change it. */
  repository(profile: ProfileName, epoch: number): RepositoryHistory | null {
    return this.#growing(profile, epoch)?.now ?? null
  }

  /** By epoch, oldest first. */
  repositories(profile: ProfileName): readonly RepositoryHistory[] {
    const found = [...(this.#profiles.get(profile)?.repositories.values() ?? [])]
    return found.map(({ now }) => now).sort((one, other) => one.epoch - other.epoch)
  }

  /** Accepted orders, oldest first. */
  orders(profile: ProfileName): readonly Recorded<'order'>[] {
    return this.#profiles.get(profile)?.orders ?? []
  }

  /** Passphrases that were handed out, oldest first. */
  releases(profile: ProfileName): readonly Recorded<'release'>[] {
    return this.#profiles.get(profile)?.releases ?? []
  }

  /** Epochs whose passphrases are destroyed, and the entry that says so. */
  destroyedEpochs(profile: ProfileName): ReadonlyMap<number, number> {
    return this.#profiles.get(profile)?.destroyed ?? new Map()
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
        this.#pinned(position, entry).addSnapshot({ ...entry, entry: position })
        return
      case 'checked':
        this.#pinned(position, entry).addChecked({ ...entry, entry: position })
        return
      case 'drill':
        this.#pinned(position, entry).addDrill({ ...entry, entry: position })
        return
      case 'hold':
        this.#pinned(position, entry).hold({ ...entry, entry: position })
        return
      case 'hold-end':
        this.#pinned(position, entry).endHold({ ...entry, entry: position })
        return
      case 'forget':
        this.#pinned(position, entry).forget({ ...entry, entry: position })
        return
      case 'prune':
        this.#pinned(position, entry).prune({ ...entry, entry: position })
        return
      case 'epoch-destroyed': {
        const { destroyed } = this.#of(entry.profile)
        if (!destroyed.has(entry.epoch)) destroyed.set(entry.epoch, position)
        return
      }
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
    const { profile, epoch, repository, keyFile, config } = entry
    const known = this.#growing(profile, epoch)?.pinned
    if (known === undefined)
      this.#of(profile).repositories.set(epoch, new GrowingRepository({ ...entry, entry: position }))
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

  /** The repository that an entry is about. */
  #pinned(
    position: number,
    entry: EntryOf<'snapshot' | 'checked' | 'drill' | 'hold' | 'hold-end' | 'forget' | 'prune'>,
  ): GrowingRepository {
    const { type, profile, epoch } = entry
    const known = this.#growing(profile, epoch)
    if (known === undefined || ('repository' in entry && entry.repository !== known.pinned.repository))
      throw invalid(position, `is a ${type} of '${profile}', epoch ${epoch}, whose repository is not pinned`)
    return known
  }

  #growing(profile: ProfileName, epoch: number): GrowingRepository | undefined {
    return this.#profiles.get(profile)?.repositories.get(epoch)
  }

  #of(profile: ProfileName): ProfileHistory {
    const known = this.#profiles.get(profile)
    if (known !== undefined) return known
    const fresh: ProfileHistory = {
      repositories: new Map(),
      orders: [],
      releases: [],
      destroyed: new Map(),
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
