import type { FrozenVolume, VolumeState } from '../host/volumes.ts'
import { runsOf } from './chunker.ts'
import type { ContentMap } from './content-map.ts'
import { RepositoryError } from './errors.ts'
import { Segments } from './segments.ts'

/*
 * What of a volume must be read. Holes are zeros. What the host says is unchanged since an earlier backup is taken from
 * that one, but never on trust alone: each time another hundredth of it is read all the same.
 */

/** A hundred backups read everything at least once. */
const sampleCycle = 100

export type BackupVolume = Pick<FrozenVolume, 'name' | 'bytes' | 'path' | 'extents'>

/** What an earlier backup found, all of it in the repository still, and the state of the volume then. */
export interface EarlierContent {
  readonly content: ContentMap
  readonly state: VolumeState
  /** Which hundredth is read again: counts up from one backup to the next. */
  readonly turn: number
}

export interface VolumePlan {
  readonly segments: Segments
  /** Chunks that are said to be unchanged and are read nevertheless. */
  readonly sampled: readonly number[]
}

/** Fills `content` with what need not be read. Throws `VOLUME_EXTENTS`. */
export async function planVolume(
  volume: BackupVolume,
  content: ContentMap,
  earlier: EarlierContent | null,
  signal: AbortSignal,
): Promise<VolumePlan> {
  const { chunkBytes } = content
  const segments = new Segments()
  const sampled: number[] = []
  const usable = earlier !== null && isOfSameShape(earlier.content, content) ? earlier : null
  for await (const run of runsOf(volume.extents(usable?.state ?? null, signal), volume.bytes, chunkBytes)) {
    signal.throwIfAborted()
    const first = run.offset / chunkBytes
    const end = Math.ceil((run.offset + run.length) / chunkBytes)
    if (run.kind === 'hole') continue
    if (run.kind === 'data' || usable === null) {
      segments.add(run.offset, run.length)
      continue
    }
    content.copy(usable.content, first, end)
    const phase = (first + usable.turn) % sampleCycle
    for (let chunk = first + ((sampleCycle - phase) % sampleCycle); chunk < end; chunk += sampleCycle) {
      sampled.push(chunk)
      content.clear(chunk)
      segments.add(chunk * chunkBytes, content.bytesOf(chunk))
    }
  }
  return { segments, sampled }
}

/** Throws `CHANGES_MISSED` when a chunk that was said to be unchanged is not what it was. */
export function requireUnchanged(content: ContentMap, earlier: ContentMap, sampled: readonly number[]): void {
  const changed = sampled.find(chunk => !content.equals(earlier, chunk))
  if (changed !== undefined)
    throw new RepositoryError(
      'CHANGES_MISSED',
      `${content.chunkBytes} bytes at ${changed * content.chunkBytes} were said to be unchanged, and are not`,
    )
}

function isOfSameShape(one: ContentMap, other: ContentMap): boolean {
  return one.chunkBytes === other.chunkBytes && one.volumeBytes === other.volumeBytes
}
