import type { Finding } from '../findings.ts'
import type { ExaminationTask } from '../protocol.ts'
import { type CheckPorts, checkFileSystem } from './checkers.ts'
import { type CheckedKind, type Content, checkedKinds, contentsOf } from './contents.ts'
import { Fault } from './fault.ts'
import { Region } from './region.ts'

export type TaskVolume = ExaminationTask['volumes'][number]

/** Opens a volume for as long as `use` runs. Throws `Fault`. */
export async function withVolume<T>(
  directory: string,
  { vm, volume, bytes }: TaskVolume,
  use: (region: Region) => Promise<T>,
): Promise<T> {
  const region = await Region.open(`${directory}/${vm}/${volume}.img`, bytes)
  if (region === null) throw new Fault('VOLUME_ABSENT')
  try {
    return await use(region)
  } finally {
    await region.close()
  }
}

/**
 * Every volume is a file system, swap space, zeros, or partitions of these; every file system is plausible and sound. What is
 * neither is not passed over: a drill that does not see into something has not proven it.
 */
export async function proveFileSystems(
  directory: string,
  volumes: readonly TaskVolume[],
  ports: CheckPorts,
): Promise<Finding> {
  let sound = 0
  for (const [index, volume] of volumes.entries())
    await placed({ volume: index + 1 }, () =>
      withVolume(directory, volume, async region => {
        for (const content of await contentsOf(region))
          if (await placed({ partition: content.partition }, () => proveContent(content, ports))) sound += 1
      }),
    )
  return { finding: 'FILE_SYSTEMS_SOUND', volume: null, partition: null, number: sound }
}

/** Whether it is a file system. Throws `Fault`. */
async function proveContent(content: Content, ports: CheckPorts): Promise<boolean> {
  const { kind, region, isRaw } = content
  if (isChecked(kind)) {
    await checkFileSystem(kind, content, ports)
    return true
  }
  if (kind === 'swap' || (kind === 'unknown' && (isRaw || (await region.isZero(ports.stop))))) return false
  throw new Fault(kind === 'closed' ? 'CONTENT_CLOSED' : 'CONTENT_UNKNOWN')
}

function isChecked(kind: Content['kind']): kind is CheckedKind {
  return (checkedKinds as readonly string[]).includes(kind)
}

/** Says of what goes wrong where that was. */
export async function placed<T>(
  place: Partial<Omit<Finding, 'finding'>>,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    const { finding, volume, partition, number } = error.finding
    throw new Fault(finding, {
      volume: volume ?? place.volume ?? null,
      partition: partition ?? place.partition ?? null,
      number: number ?? place.number ?? null,
    })
  }
}
