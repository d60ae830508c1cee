import { readdirSync, readFileSync } from 'node:fs'

/** Of every thread of this process, as the kernel says. */
export function nicenesses(): readonly number[] {
  return readdirSync('/proc/self/task').flatMap(thread => {
    const line = statOf(thread)
    return line === undefined ? [] : [Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[16])]
  })
}

/** Nothing of a thread that has ended since it was listed. */
function statOf(thread: string): string | undefined {
  try {
    return readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}
