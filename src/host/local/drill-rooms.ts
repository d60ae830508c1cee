import { readdir, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { makePrivateDirectory } from '../../base/files.ts'
import { type JobId, parseVmName, parseVolumeName } from '../../base/names.ts'
import type { DrillRoom, DrillRooms, RestoredVolume } from '../drill-rooms.ts'
import { localVolumeSink } from './volume-sink.ts'

const imageEnding = '.img'

/**
 * A directory of plaintext for as long as a drill lasts: `<job>/<vm>/<volume>.img`. What drills that died with an earlier
 * process have left is removed when it is opened.
 */
export async function openDrillRooms(directory: string): Promise<DrillRooms> {
  await rm(directory, { recursive: true, force: true })
  await makePrivateDirectory(directory)
  return { begin: async job => roomFor(directory, job) }
}

function roomFor(directory: string, job: JobId): DrillRoom {
  const room = path.join(directory, job)
  const beside = path.join(directory, `.new-${job}`)
  const sink = localVolumeSink({ directory: room, beside, resumable: false, reuse: null })
  return {
    sink,
    volumes: () => restoredVolumes(room),
    async [Symbol.asyncDispose]() {
      await sink[Symbol.asyncDispose]()
      for (const one of [room, beside]) await rm(one, { recursive: true, force: true })
    },
  }
}

/** What lies in the room of a job, ascending by VM and volume. */
export async function restoredVolumes(room: string): Promise<readonly RestoredVolume[]> {
  const volumes: RestoredVolume[] = []
  for (const vm of (await readdir(room)).sort())
    for (const file of (await readdir(path.join(room, vm))).sort()) {
      const at = path.join(room, vm, file)
      const { size: bytes } = await stat(at)
      const volume = parseVolumeName(path.basename(file, imageEnding))
      volumes.push({ vm: parseVmName(vm), volume, path: at, bytes })
    }
  return volumes
}
