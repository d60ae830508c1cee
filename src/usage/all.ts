import { dom0Usage } from './dom0.ts'
import { hostUsage } from './host.ts'
import { hsmUsage } from './hsm.ts'
import { managementUsage } from './management.ts'
import { sealUsage } from './seal.ts'
import { storageUsage } from './storage.ts'
import type { Usage } from './usage.ts'

/** Of every role that `strongroom` starts besides the command line itself. */
export const allUsages: readonly Usage[] = [
  sealUsage,
  hsmUsage,
  dom0Usage,
  storageUsage,
  managementUsage,
  hostUsage,
]
