import { GiB, KiB, MiB } from '../base/bytes.ts'
import type { VmName } from '../base/names.ts'
import type { Vm } from '../host/inventory.ts'
import type { Plan } from './plan.ts'

/*
 * The summary that `admin.backup.Info` answers, as qubes/backup.py's get_backup_summary draws it, with the filter of
 * qubes-issues #11062: names of VMs that are not selected appear only if the caller may list them.
 */

const columns = [17, 13, 13] as const
const rule = `${columns.map(width => `${'-'.repeat(width)}-+`).join('')}\n`

export function summarize(plan: Plan, inventory: readonly Vm[], mayList: (vm: VmName) => boolean): string {
  const selected = new Set(plan.vms.map(({ vm }) => vm))
  const hidden = (vm: VmName) => !mayList(vm)
  let text = `${rule}${row('VM', 'type', 'size')}\n${rule}`
  for (const { vm, class: kind, running, volumes } of plan.vms) {
    const usage = volumes.reduce((sum, volume) => sum + volume.usage, 0)
    text += row(hidden(vm) ? '(hidden)' : vm, typeOf(kind), size(usage))
    if (running) text += ' <-- The VM is running, backup will contain its state from before its start!'
    text += '\n'
  }
  const total = plan.vms.flatMap(vm => vm.volumes).reduce((sum, volume) => sum + volume.usage, 0)
  text += `${rule}${'Total size:'.padStart(columns[0])} |${size(total).padStart(28)} |\n${rule}`
  const others = inventory.filter(vm => !selected.has(vm.name) && mayList(vm.name)).map(vm => vm.name)
  return `${text}VMs not selected for backup:\n - ${others.sort().join('\n - ')}\n`
}

function row(...cells: readonly string[]): string {
  return cells.map((cell, index) => `${cell.padStart(columns[index] ?? 0)} |`).join('')
}

function typeOf(kind: string): string {
  if (kind === 'AdminVM') return 'User home'
  if (kind === 'TemplateVM') return 'Template VM'
  return kind === 'StandaloneVM' ? 'VM + Sys' : 'VM'
}

/** As qubes/utils.py size_to_human: plain below 1 KiB, else one decimal. */
function size(bytes: number): string {
  if (bytes < KiB) return String(bytes)
  if (bytes < MiB) return `${(bytes / KiB).toFixed(1)} KiB`
  return bytes < GiB ? `${(bytes / MiB).toFixed(1)} MiB` : `${(bytes / GiB).toFixed(1)} GiB`
}
