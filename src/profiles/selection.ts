import { dom0, type VmName } from '../base/names.ts'
import { fault, type Position, ProfileError } from './errors.ts'
import type { Profile } from './profile.ts'
import type { Selector } from './selector.ts'

/** What selectors are judged by. */
export interface SelectableVm {
  readonly name: VmName
  readonly class: string
  readonly tags: readonly string[]
  readonly includeInBackups: boolean
}

export interface Selection<V extends SelectableVm> {
  /** Sorted by name. */
  readonly selected: readonly V[]
  readonly warnings: readonly string[]
}

/**
 * The VMs that a profile means. Throws `PROFILE_VM_UNKNOWN` with line and column for a name in include,
 * destination_vm or passphrase_vm that is no VM, and `PROFILE_SELECTION_EMPTY` when nothing is left.
 */
export function select<V extends SelectableVm>(profile: Profile, vms: readonly V[]): Selection<V> {
  const warnings: string[] = []
  requireVms(profile, new Set(vms.map(vm => vm.name)))

  const included =
    profile.include === null
      ? vms.filter(vm => vm.includeInBackups)
      : matching(profile.include, vms, 'include', warnings)
  const excluded = new Set<VmName>(matching(profile.exclude, vms, 'exclude', warnings).map(vm => vm.name))
  const chosen = included.filter(vm => !excluded.has(vm.name))
  const selected = chosen.filter(vm => !isDom0(vm)).sort(byName)
  if (selected.length < chosen.length)
    warnings.push('dom0 is selected but has no volumes that could be backed up; exclude it to silence this')
  if (selected.length === 0)
    throw new ProfileError(
      'PROFILE_SELECTION_EMPTY',
      `profile '${profile.name}' selects none of ${vms.length} VMs`,
    )
  return { selected, warnings }
}

function requireVms(profile: Profile, vms: ReadonlySet<string>): void {
  const named: readonly (readonly [string, string, Position])[] = [
    ['destination_vm', profile.destinationVm, profile.destinationVmAt],
    ['passphrase_vm', profile.passphraseVm, profile.passphraseVmAt],
    ...(profile.include ?? [])
      .filter(selector => selector.kind === 'name')
      .map(selector => ['include', selector.value, selector.at] as const),
  ]
  for (const [key, vm, at] of named)
    if (!vms.has(vm))
      throw fault('PROFILE_VM_UNKNOWN', at, `profile '${profile.name}': ${key}: there is no VM '${vm}'`)
}

function matching<V extends SelectableVm>(
  selectors: readonly Selector[],
  vms: readonly V[],
  key: 'include' | 'exclude',
  warnings: string[],
): readonly V[] {
  const matched = new Set<V>()
  for (const selector of selectors) {
    const found = vms.filter(vm => matches(selector, vm))
    if (found.length === 0)
      warnings.push(`${key}: '${selector.text}' (line ${selector.at.line}) matches no VM`)
    for (const vm of found) matched.add(vm)
  }
  return [...matched]
}

function matches(selector: Selector, vm: SelectableVm): boolean {
  if (selector.kind === 'name') return vm.name === selector.value
  return selector.kind === 'tag' ? vm.tags.includes(selector.value) : vm.class === selector.value
}

function isDom0(vm: SelectableVm): boolean {
  return vm.name === dom0 || vm.class === 'AdminVM'
}

function byName(a: SelectableVm, b: SelectableVm): number {
  return a.name < b.name ? -1 : Number(a.name > b.name)
}
