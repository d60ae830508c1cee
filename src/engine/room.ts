import { dom0, type VmName } from '../base/names.ts'

/*
 * How many jobs run at once: of all together, of all VMs beside dom0, and of each of these. So two are left to dom0 whatever
 * VMs order, and two to the other VMs whatever one of them orders.
 */
const jobsMax = 8
const jobsOfVmsMax = 6
const jobsOfOneVmMax = 4

/** Whether one more of `initiator` may run. `running`: whose the jobs are that do. */
export function hasRoom(running: readonly VmName[], initiator: VmName): boolean {
  if (running.length >= jobsMax) return false
  if (initiator === dom0) return true
  return (
    running.filter(one => one !== dom0).length < jobsOfVmsMax &&
    running.filter(one => one === initiator).length < jobsOfOneVmMax
  )
}
