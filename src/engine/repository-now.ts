import type { ProfileName } from '../base/names.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'

/** What the ledger says of a repository now: entries that come later do not change it. Throws `REPOSITORY_UNKNOWN`. */
export function repositoryNow(
  { ledger }: Pick<EnginePorts, 'ledger'>,
  profile: ProfileName,
  epoch: number,
): RepositoryHistory {
  const history = ledger.repository(profile, epoch)
  if (history === null)
    throw new EngineError('REPOSITORY_UNKNOWN', `the ledger knows no repository of '${profile}'`)
  return history
}
