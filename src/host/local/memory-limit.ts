import { mkdir, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../base/environment.ts'
import { errnoOf } from '../../base/errors.ts'

/*
 * A bound on the memory of a process and all its children. A control group (v2, else v1) where one may be made; else
 * RLIMIT_DATA, which bounds each process for itself.
 */

const removalAttemptsMax = 100
const removalPauseMilliseconds = 20

export interface MemoryLimit {
  /** Put before the command to be bound. */
  readonly wrapper: readonly string[]
  /** Once the bound processes have been killed; waits until the last of them has gone. */
  remove(): Promise<void>
}

interface Hierarchy {
  readonly directory: string
  readonly limitFile: string
}

const hierarchies: readonly Hierarchy[] = [
  { directory: '/sys/fs/cgroup', limitFile: 'memory.max' },
  { directory: '/sys/fs/cgroup/memory', limitFile: 'memory.limit_in_bytes' },
]

/** `name`: of the control group; unique on this machine. */
export async function limitMemory(name: string, bytesMax: number, clock: Clock): Promise<MemoryLimit> {
  for (const { directory, limitFile } of hierarchies) {
    const group = path.join(directory, `strongroom-${name}`)
    if (await makeGroup(group, limitFile, bytesMax))
      return {
        // The shell enters the group and becomes the command, so no child escapes it.
        wrapper: ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', path.join(group, 'cgroup.procs')],
        remove: () => removeGroup(group, clock),
      }
  }
  return { wrapper: ['prlimit', `--data=${bytesMax}`, '--'], remove: async () => {} }
}

async function makeGroup(group: string, limitFile: string, bytesMax: number): Promise<boolean> {
  try {
    await mkdir(group)
  } catch {
    return false
  }
  try {
    // Without O_CREAT: on a plain tmpfs, where no such file appears, this must fail.
    await writeFile(path.join(group, limitFile), String(bytesMax), { flag: 'r+' })
    return true
  } catch {
    await rmdir(group).catch(() => {})
    return false
  }
}

/** A group is busy as long as a process in it is still ending. */
async function removeGroup(group: string, clock: Clock): Promise<void> {
  for (let attempt = 0; attempt < removalAttemptsMax; attempt += 1) {
    const errno = await rmdir(group).then(() => null, errnoOf)
    if (errno !== 'EBUSY') return
    await clock.sleep(removalPauseMilliseconds)
  }
}
