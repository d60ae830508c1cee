import type { ProfileName, VmName } from '../base/names.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import { type HsmBinding, sealedEpochs } from '../profiles/binding.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'

/*
 * A profile has a repository in each epoch. Backups go into the present one alone; all else is about every repository whose
 * passphrase is sealed.
 */

type Ledger = Pick<EnginePorts, 'ledger'>

/** Repositories that the ledger knows and whose epoch is sealed and not destroyed, the present one first. */
export function readableRepositories(
  { ledger }: Ledger,
  profile: ProfileName,
  binding: HsmBinding,
): readonly RepositoryHistory[] {
  const destroyed = ledger.destroyedEpochs(profile)
  return sealedEpochs(binding)
    .filter(({ epoch }) => !destroyed.has(epoch))
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

/** Nobody could ever read what is stored from here on. Throws `EPOCH_DESTROYED`. */
export function requireNotDestroyed({ ledger }: Ledger, profile: ProfileName, epoch: number): void {
  if (ledger.destroyedEpochs(profile).has(epoch))
    throw new EngineError('EPOCH_DESTROYED', `the passphrase of epoch ${epoch} of '${profile}' is destroyed`)
}

/**
 * The entry that records a destroyed epoch: appended, unless the ledger has it. The HSM VM has read that nothing is lost by it;
 * dom0 looks as well. Called one after another. Throws `PROFILE_NOT_FOUND`, `EPOCH_IN_USE`.
 */
export async function recordDestroyed(
  ports: Pick<EnginePorts, 'ledger' | 'configuration' | 'environment' | 'log'>,
  { profile: name, epoch, source }: { profile: ProfileName; epoch: number; source: VmName },
): Promise<number> {
  const { ledger } = ports
  const { value, digest } = await ports.configuration.current()
  const profile = value.profiles.get(name)
  // Of a profile that is no longer sealed, any HSM VM may have had the key. Of one that is, another's word counts for nothing.
  const isKeeper = profile === undefined ? value.roles.hsm.includes(source) : profile.passphraseVm === source
  if (!isKeeper) throw new EngineError('PROFILE_NOT_FOUND', `${source} keeps no passphrase of '${name}'`)
  const known = ledger.destroyedEpochs(name).get(epoch)
  if (known !== undefined) return known
  const binding = value.bindings.get(name)
  if (binding !== undefined && epoch >= binding.epoch)
    throw new EngineError('EPOCH_IN_USE', `epoch ${epoch} of '${name}' is not an earlier one`)
  const repository = ledger.repository(name, epoch)
  // Without this an HSM VM could fill the ledger with names that it makes up.
  if (binding === undefined && repository === null)
    throw new EngineError('PROFILE_NOT_FOUND', `nothing is known of an epoch ${epoch} of '${name}'`)
  const count = repository?.snapshots.length ?? 0
  if (count > 0)
    throw new EngineError('EPOCH_IN_USE', `the ledger has ${count} snapshots of '${name}' in epoch ${epoch}`)
  ports.log.warn('the passphrase of an epoch is destroyed', { profile: name, epoch, source })
  const time = ports.environment.clock.now()
  return ledger.append([
    { type: 'epoch-destroyed', time, profile: name, epoch, initiator: source, configuration: digest },
  ])
}
