import type { RepositoryName } from '../base/names.ts'

interface Claim {
  readonly repository: RepositoryName
  since: Date
  isSaid: boolean
}

/** A backup that stores packs of which no index tells yet, until it is disposed of. */
export interface Storing extends Disposable {
  /** Whether it may go on with a pack that was stored at this time; then it counts as storing since then. */
  adopts(stored: Date): boolean
}

/** A check that is going to say when all packs were read or stored at the latest, until that is in the ledger. */
export interface Claiming extends Disposable {
  /** The latest time that is true of what backups beside it have stored. From now on none makes it untrue. */
  say(): Date
}

/**
 * Backups and checks of one repository run beside each other, and what a check says of all packs must be true of those too
 * that a backup has stored and names later.
 */
export class UnnamedPacks {
  readonly #storing = new Set<{ readonly repository: RepositoryName; since: Date }>()
  readonly #claims = new Set<Claim>()

  /** `since`: before it stores anything. */
  storing(repository: RepositoryName, since: Date): Storing {
    const one = { repository, since }
    this.#storing.add(one)
    return {
      adopts: stored => {
        const claims = this.#claimsOf(repository)
        if (claims.some(claim => claim.isSaid && stored < claim.since)) return false
        for (const claim of claims) claim.since = earlier(claim.since, stored)
        one.since = earlier(one.since, stored)
        return true
      },
      [Symbol.dispose]: () => void this.#storing.delete(one),
    }
  }

  /** `since`: no later than the look at the ledger that the check goes by, which is now. */
  claiming(repository: RepositoryName, since: Date): Claiming {
    const beside = [...this.#storing].filter(one => one.repository === repository)
    const claim = { repository, since: beside.map(one => one.since).reduce(earlier, since), isSaid: false }
    this.#claims.add(claim)
    return {
      say() {
        claim.isSaid = true
        return claim.since
      },
      [Symbol.dispose]: () => void this.#claims.delete(claim),
    }
  }

  #claimsOf(repository: RepositoryName): readonly Claim[] {
    return [...this.#claims].filter(one => one.repository === repository)
  }
}

function earlier(one: Date, other: Date): Date {
  return one < other ? one : other
}
