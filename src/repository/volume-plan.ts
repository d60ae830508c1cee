import { createSecretKey, type KeyObject } from 'node:crypto'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { gmacKeyLength } from '../crypto/gmac.ts'
import type { FrozenVolume, VolumeState } from '../host/volumes.ts'
import { runsOf } from './chunker.ts'
import { ContentMap } from './content-map.ts'
import { RepositoryError } from './errors.ts'
import { Fingerprints } from './fingerprints.ts'
import { Segments } from './segments.ts'

/*
 * What of a volume must be read. Holes are zeros. What the host says is unchanged since an earlier backup is taken from
 * that one, and so is a chunk that is read and has the same fingerprint; but never on that alone: each time another
 * hundredth is read and hashed all the same.
 */

/** A hundred backups hash everything at least once. */
const sampleCycle = 100

/** Whether a chunk is hashed this time, whatever is said of it. */
export function isSampled(chunk: number, turn: number): boolean {
  return (chunk + turn) % sampleCycle === 0
}

export type BackupVolume = Pick<FrozenVolume, 'name' | 'bytes' | 'path' | 'extents'>

/** What an earlier backup found, all of it in the repository still, and the state of the volume then. */
export interface EarlierContent {
  readonly content: ContentMap
  readonly fingerprints: Fingerprints
  /** `null`: the host can tell nothing of it. */
  readonly state: VolumeState | null
  /** Which hundredth is read again: counts up from one backup to the next. */
  readonly turn: number
}

export interface VolumePlan {
  readonly segments: Segments
  readonly content: ContentMap
  /** Of the key of the earlier ones, so that they can be compared. */
  readonly fingerprints: Fingerprints
  /** What is usable: of a volume of the same shape. */
  readonly earlier: EarlierContent | null
  /** Chunks that are said to be unchanged and are read nevertheless. */
  readonly sampled: readonly number[]
}

/** Its content and fingerprints are those that need not be read. Throws `VOLUME_EXTENTS`. */
export async function planVolume(
  volume: BackupVolume,
  chunkBytes: number,
  earlier: EarlierContent | null,
  entropy: Entropy,
  signal: AbortSignal,
): Promise<VolumePlan> {
  const content = ContentMap.of(volume.bytes, chunkBytes)
  const segments = new Segments()
  const sampled: number[] = []
  const usable = earlier !== null && isOfSameShape(earlier.content, content) ? earlier : null
  const fingerprints = Fingerprints.of(content.length, usable?.fingerprints.key ?? newKey(entropy))
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
    fingerprints.copy(usable.fingerprints, first, end)
    for (let chunk = first; chunk < end; chunk++) {
      if (!isSampled(chunk, usable.turn)) continue
      sampled.push(chunk)
      content.clear(chunk)
      segments.add(chunk * chunkBytes, content.bytesOf(chunk))
    }
  }
  return { segments, content, fingerprints, earlier: usable, sampled }
}

function newKey(entropy: Entropy): KeyObject {
  using bytes = Secret.take(entropy.bytes(gmacKeyLength))
  return bytes.expose(createSecretKey)
}

/**
 * Throws `CHANGES_MISSED` when a chunk that was said to be unchanged, or has the fingerprint that it had, is not what it
 * was; of those that were hashed this time.
 */
export function requireUnchanged({ content, fingerprints, earlier, sampled }: VolumePlan): void {
  if (earlier === null) return
  const isOther = (chunk: number) => !content.equals(earlier.content, chunk)
  const changed = sampled.find(isOther)
  if (changed !== undefined) throw missed(content, changed, 'were said to be unchanged')
  for (let chunk = 0; chunk < content.length; chunk++) {
    if (!isSampled(chunk, earlier.turn) || content.get(chunk) === null) continue
    if (fingerprints.equals(earlier.fingerprints, chunk) && isOther(chunk))
      throw missed(content, chunk, 'have the fingerprint that others had')
  }
}

function missed({ chunkBytes }: ContentMap, chunk: number, what: string): RepositoryError {
  return new RepositoryError(
    'CHANGES_MISSED',
    `${chunkBytes} bytes at ${chunk * chunkBytes} ${what}, and are not the same`,
  )
}

function isOfSameShape(one: ContentMap, other: ContentMap): boolean {
  return one.chunkBytes === other.chunkBytes && one.volumeBytes === other.volumeBytes
}
