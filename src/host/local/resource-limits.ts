import { mkdir, readdir, rmdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../base/environment.ts'
import { errnoOf } from '../../base/errors.ts'
import { startOf } from './process-start.ts'

/*
 * Bounds on a process and all its children together. Control groups (v2, else v1) where they may be made; else RLIMIT_DATA,
 * which bounds the memory of each process for itself.
 */

const removalAttemptsMax = 100
const removalPauseMilliseconds = 20
/** Of v1, whose default it is; v2 is told. */
const cpuPeriodMicroseconds = 100_000

export interface ResourceLimits {
  readonly memoryBytesMax: number
  /** Processes and threads. */
  readonly tasksMax?: number
  /** Cores that may be busy at once. */
  readonly coresMax?: number
}

export interface LimitedResources {
  /** Put before the command to be bound. */
  readonly wrapper: readonly string[]
  /** Once the bound processes have been killed; waits until the last of them has gone. */
  remove(): Promise<void>
}

type Resource = keyof ResourceLimits
interface Hierarchy {
  readonly directory: string
  readonly files: Readonly<Partial<Record<Resource, string>>>
  readonly cpuText: (quota: number) => string
}

const hierarchies: readonly Hierarchy[] = [
  {
    directory: '/sys/fs/cgroup',
    files: { memoryBytesMax: 'memory.max', tasksMax: 'pids.max', coresMax: 'cpu.max' },
    cpuText: quota => `${quota} ${cpuPeriodMicroseconds}`,
  },
  ...Object.entries({
    memory: { memoryBytesMax: 'memory.limit_in_bytes' },
    pids: { tasksMax: 'pids.max' },
    cpu: { coresMax: 'cpu.cfs_quota_us' },
  }).map(([name, files]) => ({ directory: `/sys/fs/cgroup/${name}`, files, cpuText: String })),
]

/** Groups are `strongroom-<process>.<its start>-<name>`: whose maker has gone can be told. */
const groupPattern = /^strongroom-(\d{1,10})\.(\d{1,20})-/

/** `name`: unique on this machine. */
export async function limitResources(
  name: string,
  limits: ResourceLimits,
  clock: Clock,
): Promise<LimitedResources> {
  const own = `strongroom-${process.pid}.${await startOf(process.pid)}-${name}`
  const bound = new Set<Resource>()
  const groups: string[] = []
  for (const hierarchy of hierarchies) {
    await removeLeftOver(hierarchy.directory)
    const wanted = settingsOf(hierarchy, limits).filter(({ resource }) => !bound.has(resource))
    const group = path.join(hierarchy.directory, own)
    const set = await makeGroup(group, wanted)
    for (const resource of set) bound.add(resource)
    if (set.length > 0) groups.push(group)
  }
  return {
    wrapper: [
      ...(bound.has('memoryBytesMax') ? [] : ['prlimit', `--data=${limits.memoryBytesMax}`, '--']),
      ...entering(groups),
    ],
    async remove() {
      for (const group of groups) await removeGroup(group, clock)
    },
  }
}

interface Setting {
  readonly resource: Resource
  readonly file: string
  readonly text: string
}

function settingsOf({ files, cpuText }: Hierarchy, limits: ResourceLimits): readonly Setting[] {
  return (Object.entries(files) as [Resource, string][]).flatMap(([resource, file]) => {
    const limit = limits[resource]
    if (limit === undefined) return []
    const text = resource === 'coresMax' ? cpuText(limit * cpuPeriodMicroseconds) : String(limit)
    return [{ resource, file, text }]
  })
}

/** The shell enters the groups and becomes the command, so no child escapes them. */
function entering(groups: readonly string[]): readonly string[] {
  if (groups.length === 0) return []
  const script =
    'count=$1; shift; while [ "$count" -gt 0 ]; do echo $$ > "$1" || exit 1; shift; count=$((count - 1)); done; exec "$@"'
  return [
    ...['/bin/sh', '-c', script, 'sh', String(groups.length)],
    ...groups.map(group => path.join(group, 'cgroup.procs')),
  ]
}

/** What could be bound there; when nothing, there is no group. */
async function makeGroup(group: string, settings: readonly Setting[]): Promise<readonly Resource[]> {
  if (settings.length === 0) return []
  try {
    await mkdir(group)
  } catch {
    return []
  }
  const set: Resource[] = []
  for (const { resource, file, text } of settings) {
    // Without O_CREAT: on a plain tmpfs, where no such file appears, this must fail.
    const isSet = await writeFile(path.join(group, file), text, { flag: 'r+' }).then(
      () => true,
      () => false,
    )
    if (isSet) set.push(resource)
  }
  if (set.length === 0) await rmdir(group).catch(() => {})
  return set
}

/** A group is busy as long as a process in it is still ending. */
async function removeGroup(group: string, clock: Clock): Promise<void> {
  for (let attempt = 0; attempt < removalAttemptsMax; attempt += 1) {
    const errno = await rmdir(group).then(() => null, errnoOf)
    if (errno !== 'EBUSY') return
    await clock.sleep(removalPauseMilliseconds)
  }
}

/** Empty groups of a process that was killed before it could remove them. */
async function removeLeftOver(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    const [, pid, start] = groupPattern.exec(name) ?? []
    if (pid === undefined || (await startOf(Number(pid))) === start) continue
    await rmdir(path.join(directory, name)).catch(() => {})
  }
}
