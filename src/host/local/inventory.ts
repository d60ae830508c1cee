import { readdir } from 'node:fs/promises'
import { dom0, parseVmName, type VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import type { Inventory, Vm } from '../inventory.ts'
import { readVmFile, volumeFiles } from './vm-file.ts'

/** As in Qubes, dom0 is a VM that selectors and policy know. It has no volumes here, and no directory. */
const adminVm: Vm = {
  name: dom0,
  class: 'AdminVM',
  tags: [],
  running: true,
  includeInBackups: false,
  volumes: [],
}

/** dom0, then the VMs below `root`, by name. Directories without vm.json are none; one that cannot be read fails the list. */
export function localInventory(root: string): Inventory {
  return {
    async list(signal) {
      const entries = await readdir(root, { withFileTypes: true }).catch(cause => {
        throw new HostError('VM_MISSING', 'the directory of VMs cannot be read', { cause })
      })
      const vms: Vm[] = [adminVm]
      for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
        signal.throwIfAborted()
        const vm = entry.isDirectory() && !entry.name.startsWith('.') ? await readVm(root, entry.name) : null
        if (vm !== null) vms.push(vm)
      }
      return vms
    },
  }
}

async function readVm(root: string, directory: string): Promise<Vm | null> {
  const name: VmName = parseVmName(directory)
  const file = await readVmFile(root, name)
  if (file === null) return null
  if (name === dom0) throw new HostError('VM_INVALID', `${dom0} is no VM with a directory of its own`)
  const volumes = await volumeFiles(root, name, file)
  return {
    name,
    class: file.class,
    tags: file.tags,
    running: file.running,
    includeInBackups: file.includeInBackups,
    volumes: volumes.map(({ name, bytes, usage }) => ({ name, bytes, usage })),
  }
}
