import type { Judge } from '../engine/judge.ts'
import type { Vm } from '../host/inventory.ts'
import { evaluate } from '../qrexec/policy.ts'
import type { Policy } from '../qrexec/policy-files.ts'
import type { DomainInfo, SystemInfo } from '../qrexec/policy-system.ts'

/** The machine as policy is judged by. */
export function systemOf(vms: readonly Vm[]): SystemInfo {
  const domains = new Map<string, DomainInfo>()
  for (const { name, class: type, tags, running } of vms)
    domains.set(name, { type, tags, running, templateForDispvms: false, defaultDispvm: null })
  return { domains }
}

/** Asks the sealed policy again for what an answer may show; `ask` is no. */
export function judgeBy(policy: () => Policy, system: () => SystemInfo): Judge {
  return {
    allows: request => evaluate(policy(), request, system()).result === 'allow',
  }
}
