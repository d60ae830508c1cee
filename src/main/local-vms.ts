import { existsSync } from 'node:fs'
import path from 'node:path'
import { dom0, type VmName } from '../base/names.ts'
import type { Bind, Product } from '../host/local/bubblewrap.ts'
import { kernelPowerSupplies } from '../host/local/power-supplies.ts'
import type { ServiceVm } from '../host/local/supervisor.ts'
import { type LocalHome, serviceVms } from './local-home.ts'

/*
 * What each VM of the local host is: its program, and what it sees of this machine.
 */

/**
 * A VM sees its own directory and sockets; dom0 sees the disks and everybody's sockets, as dom0 does. Its settings are
 * read-only: they name programs' files, and a person runs commands by them.
 */
export function bindsOf(home: LocalHome, vm: VmName): readonly Bind[] {
  const own: readonly Bind[] = [
    { from: home.home(vm), write: true },
    { from: home.run(vm), write: true },
    { from: home.settings(vm), write: false },
  ]
  if (vm !== dom0) return own
  return [
    ...own,
    { from: home.machine, write: false },
    { from: home.runDirectory, write: false },
    // Its own again, over the read-only view of all.
    { from: home.run(dom0), write: true },
    ...powerBinds(),
  ]
}

/** What the machine runs on: links to devices, where there are any. */
function powerBinds(): readonly Bind[] {
  return [kernelPowerSupplies, '/sys/devices']
    .filter(directory => existsSync(directory))
    .map(from => ({ from, write: false }))
}

/** In the order in which they start. */
export function serviceProcesses(home: LocalHome, { directory }: Product): readonly ServiceVm[] {
  const { hsm, storage, management } = serviceVms
  const service = (name: VmName, file: string): ServiceVm => ({
    name,
    command: [path.join(directory, 'src/main', file), '--settings', home.settings(name)],
    binds: bindsOf(home, name),
    network: false,
    readySocket: home.services(name),
  })
  return [
    service(storage, 'storage-vm.ts'),
    service(hsm, 'hsm-vm.ts'),
    service(dom0, 'dom0.ts'),
    { ...service(management, 'mgmt-vm.ts'), readySocket: path.join(home.run(management), 'api.sock') },
  ]
}
