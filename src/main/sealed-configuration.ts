import path from 'node:path'
import type { Clock } from '../base/environment.ts'
import { type Configuration, parseConfiguration } from '../profiles/config.ts'
import { FileSealedStore } from '../sealing/store.ts'

export type ConfigurationStore = FileSealedStore<Configuration>

/** Opens a VM's own copy of the sealed store: `<directory>/{store,pin.json,floor.json}`. Refuses whatever does not verify. */
export function openConfiguration(directory: string, clock: Clock): Promise<ConfigurationStore> {
  return FileSealedStore.open({
    directory: path.join(directory, 'store'),
    pinPath: path.join(directory, 'pin.json'),
    floorPath: path.join(directory, 'floor.json'),
    parseConfiguration,
    clock,
  })
}
