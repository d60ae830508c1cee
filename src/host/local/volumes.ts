import type { Entropy } from '../../base/environment.ts'
import type { VmName } from '../../base/names.ts'
import { HostError } from '../errors.ts'
import { freezeAll } from '../frozen-vm.ts'
import type { VolumeSource } from '../volumes.ts'
import { type FreezeContext, freezeFile } from './frozen-file.ts'
import { SharedCopies } from './shared-copies.ts'
import { readVmFile, volumeFiles } from './vm-file.ts'

/*
 * Freezing plain files. Where the file system can share blocks (btrfs, XFS), a copy that does is the frozen moment, and
 * the last one is kept to see what changed since. Elsewhere the file itself is read, and thawing proves that it stayed
 * the same meanwhile.
 */

export interface LocalVolumesOptions extends Omit<FreezeContext, 'copies'> {
  /** One directory a VM. Nothing is written there. */
  readonly root: string
  /** dom0's own, for copies; on the file system of `root`, or there will be none. */
  readonly copies: string
  readonly entropy: Entropy
}

export function localVolumes({ root, copies, entropy, ...rest }: LocalVolumesOptions): VolumeSource {
  const context: FreezeContext = {
    ...rest,
    copies: new SharedCopies(copies, entropy, (vm, volume) => hasVolume(root, vm, volume)),
  }
  return {
    async freeze(vm, signal) {
      signal.throwIfAborted()
      const file = await readVmFile(root, vm)
      if (file === null) throw new HostError('VM_MISSING', `there is no VM ${vm}`)
      return freezeAll(
        vm,
        await volumeFiles(root, vm, file),
        async volume => {
          signal.throwIfAborted()
          return freezeFile(context, vm, volume)
        },
        context.log,
      )
    },
  }
}

/** A VM whose description cannot be read now may have it. */
async function hasVolume(root: string, vm: VmName, volume: string): Promise<boolean> {
  const file = await readVmFile(root, vm).catch(() => undefined)
  return file === undefined || (file !== null && Object.hasOwn(file.volumes, volume))
}
