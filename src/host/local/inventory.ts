import { readdir } from 'node:fs/promises'
import { parseVmName, type VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import type { Inventory, Vm } from '../inventory.ts'
import { readVmFile, volumeFiles } from './vm-file.ts'

/** The VMs below `root`, by name. Directories without vm.json are none; one that cannot be read fails the whole list. */
export function localInventory(root: string): Inventory {
  return {
    async list(signal) {
      const entries = await readdir(root, { withFileTypes: true }).catch(cause => {
        throw new HostError('VM_MISSING', 'the directory of VMs cannot be read', { cause })
      })
      const vms: Vm[] = []
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
