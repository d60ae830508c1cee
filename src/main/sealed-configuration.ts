import type { Clock } from '../base/environment.ts'
import { errorKinds } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { type Configuration, parseConfiguration } from '../profiles/config.ts'
import { type Policy, parsePolicy } from '../qrexec/policy-files.ts'
import type { AnchoredCounter } from '../sealing/counter.ts'
import { sealedPlace } from '../sealing/place.ts'
import { FileSealedStore, type SealedStoreOptions } from '../sealing/store.ts'

export type ConfigurationStore = FileSealedStore<Configuration>

export function storeOptions(directory: string, clock: Clock): SealedStoreOptions<Configuration> {
  const { store, pin, floor } = sealedPlace(directory)
  return { store, pin, floor, parseConfiguration, clock }
}

/** Opens a VM's own copy. Refuses whatever does not verify, or is not what the counter stands for. */
export function openConfiguration(
  directory: string,
  clock: Clock,
  counter: AnchoredCounter | null = null,
): Promise<ConfigurationStore> {
  return FileSealedStore.open({ ...storeOptions(directory, clock), ...(counter === null ? {} : { counter }) })
}

/** The same for a service, which ends with a line in its log rather than run by what does not verify. */
export function openForService(
  log: Log,
  ...[directory, clock, counter]: Parameters<typeof openConfiguration>
): Promise<ConfigurationStore> {
  return openConfiguration(directory, clock, counter).catch(error => {
    log.error('the sealed configuration does not verify: refusing to run', { error })
    process.exit(errorKinds.integrity.exit)
  })
}

/** The sealed policy, parsed. Throws `POLICY_INVALID`. */
export function sealedPolicy({ policies }: Configuration): Policy {
  return parsePolicy(new Map([...policies].map(([name, text]) => [`${name}.policy`, text])))
}
