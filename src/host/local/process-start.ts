import { readFile } from 'node:fs/promises'

/** proc(5), `stat`: behind the name in parentheses, which may hold anything, come the state and 18 more, then the start. */
const startField = 19

/** When a process began, in the kernel's ticks since boot; `null` when none of that number is running. */
export async function startOf(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => null)
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  // Z: it has ended, and its parent has not asked yet.
  return fields === undefined || fields[0] === 'Z' ? null : (fields[startField] ?? null)
}
