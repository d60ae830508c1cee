import { readdirSync, readFileSync } from 'node:fs'

/** Of every thread of this process, as the kernel says. */
export function nicenesses(): readonly number[] {
  return readdirSync('/proc/self/task').map(thread => {
    const line = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
    return Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[16])
  })
}
