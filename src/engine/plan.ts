import type { VmName } from '../base/names.ts'
import type { Vm, VolumeInfo } from '../host/inventory.ts'
import type { Profile } from '../profiles/profile.ts'
import { select } from '../profiles/selection.ts'
import { RepositoryError } from '../repository/errors.ts'
import { vmsMax, volumesMax } from '../repository/manifest.ts'
import { EngineError } from './errors.ts'

export interface PlannedVm {
  readonly vm: VmName
  readonly class: string
  readonly running: boolean
  readonly volumes: readonly VolumeInfo[]
}

/** What one job will read. */
export interface Plan {
  readonly vms: readonly PlannedVm[]
  /** Logical bytes of all volumes. */
  readonly bytes: number
  readonly warnings: readonly string[]
}

/** As many as an `Outcome` may carry. */
const warningsMax = 100

/**
 * Profile and inventory to volumes. A selector that matches nothing is a warning; a plan of nothing, or of more than a
 * snapshot can hold, is an error.
 */
export function planBackup(profile: Profile, inventory: readonly Vm[]): Plan {
  const { selected, warnings } = select(profile, inventory)
  const notes = [...warnings]
  const byName = new Map(inventory.map(vm => [vm.name, vm]))
  const vms: PlannedVm[] = []
  for (const { name } of selected) {
    const vm = byName.get(name)
    if (vm === undefined) continue
    const volumes = vm.volumes.filter(
      volume => profile.volumes === null || profile.volumes.includes(volume.name),
    )
    if (volumes.length === 0) notes.push('a selected VM has none of the volumes that the profile names')
    else vms.push({ vm: vm.name, class: vm.class, running: vm.running, volumes })
  }
  if (vms.length === 0)
    throw new EngineError('PLAN_EMPTY', `profile '${profile.name}' selects no volume of any VM`)
  if (vms.length > vmsMax || vms.some(one => one.volumes.length > volumesMax))
    throw new RepositoryError(
      'SNAPSHOT_LIMIT',
      `profile '${profile.name}' selects ${vms.length} VMs; a snapshot holds ${vmsMax} of ${volumesMax} volumes each`,
    )
  const bytes = vms.flatMap(vm => vm.volumes).reduce((sum, volume) => sum + volume.bytes, 0)
  return { vms, bytes, warnings: bounded([...new Set(notes)]) }
}

function bounded(warnings: readonly string[]): readonly string[] {
  if (warnings.length <= warningsMax) return warnings
  const shown = warnings.slice(0, warningsMax - 1)
  return [...shown, `${warnings.length - shown.length} more warnings`]
}
