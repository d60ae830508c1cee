import type { ProfileName } from '../base/names.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import { type HsmBinding, sealedEpochs } from '../profiles/binding.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'

/*
 * A profile has a repository in each epoch. Backups go into the present one alone; all else is about every repository whose
 * passphrase is sealed.
 */

type Ledger = Pick<EnginePorts, 'ledger'>

/** Repositories that the ledger knows and whose epoch is sealed, the present one first. */
export function readableRepositories(
  { ledger }: Ledger,
  profile: ProfileName,
  binding: HsmBinding,
): readonly RepositoryHistory[] {
  return sealedEpochs(binding)
    .map(({ epoch }) => ledger.repository(profile, epoch))
    .filter(history => history !== null)
}

/** Throws `REPOSITORY_UNKNOWN` when there is none. */
export function requireRepositories(
  ports: Ledger,
  profile: ProfileName,
  binding: HsmBinding,
): readonly RepositoryHistory[] {
  const found = readableRepositories(ports, profile, binding)
  if (found.length > 0) return found
  throw new EngineError('REPOSITORY_UNKNOWN', `the ledger knows no repository of '${profile}'`)
}

/** Of a repository of an earlier epoch that has no snapshots any more, nothing is read: nobody relies on it. */
export function isReliedOn({ epoch, snapshots }: RepositoryHistory, binding: HsmBinding): boolean {
  return epoch === binding.epoch || snapshots.length > 0
}
