import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import type { PowerSource } from '../power.ts'

export const kernelPowerSupplies = '/sys/class/power_supply'

/**
 * As the kernel says (`sysfs-class-power`): on battery is a machine that discharges one and has no supply from outside
 * that is online. Whatever else is found, or not found, is mains: a wait that nothing ends would be worse.
 */
export function powerSupplies(directory: string = kernelPowerSupplies): PowerSource {
  return {
    async now() {
      const names = await readdir(directory).catch(() => [])
      const states = await Promise.all(names.map(name => stateOf(path.join(directory, name))))
      return states.includes('discharging') && !states.includes('online') ? 'battery' : 'mains'
    },
  }
}

async function stateOf(supply: string): Promise<'online' | 'discharging' | 'other'> {
  const attribute = async (name: string) =>
    (await readFile(path.join(supply, name), 'latin1').catch(() => '')).trim()
  // A keyboard or a pen has a battery of its own.
  if ((await attribute('scope')) === 'Device') return 'other'
  if ((await attribute('type')) === 'Battery')
    return (await attribute('status')) === 'Discharging' ? 'discharging' : 'other'
  return (await attribute('online')) === '1' ? 'online' : 'other'
}
