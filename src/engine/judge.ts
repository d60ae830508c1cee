import type { VmName } from '../base/names.ts'

/**
 * The qrexec policy asked again, for what an answer may show: as qubesd does for events and lists. Only a plain
 * `allow` counts; `ask` is no. dom0 itself is never asked.
 */
export interface Judge {
  allows(request: { service: string; argument: string; source: VmName; target: string }): boolean
}

/** `@adminvm` as the target of calls about dom0 itself. */
export const adminVm = '@adminvm'
