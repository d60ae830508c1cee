import type { FrozenVolume } from '../host/volumes.ts'
import { type Segment, segmentsOf } from './chunker.ts'

/*
 * Reads a volume ahead of who consumes it, into buffers that go round. Their number is the back-pressure of a backup:
 * nothing is read while all of them are held by chunks that are still being compressed.
 */

export const segmentBytes = 1024 * 1024
const buffersMax = 16
const aheadMax = 4

export type BackupVolume = Pick<FrozenVolume, 'name' | 'bytes' | 'extents' | 'read'>

/** A segment in memory. Its bytes are good until `release` was called once more than `retain`. */
export interface LoadedSegment {
  readonly offset: number
  readonly length: number
  /** `null`: a hole, all zeros. */
  readonly bytes: Uint8Array | null
  retain(): void
  release(): void
}

export class BufferPool {
  readonly #free: Uint8Array[] = []
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []
  #made = 0

  take(): Promise<Uint8Array> | Uint8Array {
    const buffer = this.#free.pop()
    if (buffer !== undefined) return buffer
    if (this.#made < buffersMax) {
      this.#made += 1
      return new Uint8Array(segmentBytes)
    }
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  give(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(buffer)
    else next(buffer)
  }
}

/** The segments of a volume in order. Whoever iterates releases each; those it leaves behind are released here. */
export async function* readAhead(
  volume: BackupVolume,
  chunkBytes: number,
  pool: BufferPool,
  signal: AbortSignal,
): AsyncGenerator<LoadedSegment> {
  const pending: Promise<LoadedSegment>[] = []
  try {
    const segments = segmentsOf(volume.extents(null, signal), volume.bytes, { chunkBytes, segmentBytes })
    for await (const segment of segments) {
      signal.throwIfAborted()
      const loaded = load(volume, segment, pool)
      loaded.catch(() => {}) // thrown where it is awaited, which may be later than it happens
      pending.push(loaded)
      const next = pending.length > aheadMax ? pending.shift() : undefined
      if (next !== undefined) yield await next
    }
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) yield await next
  } finally {
    for (const left of await Promise.allSettled(pending))
      if (left.status === 'fulfilled') left.value.release()
  }
}

async function load(volume: BackupVolume, segment: Segment, pool: BufferPool): Promise<LoadedSegment> {
  const { offset, length } = segment
  if (segment.kind === 'hole') return { offset, length, bytes: null, retain() {}, release() {} }
  const buffer = await pool.take()
  const bytes = buffer.subarray(0, length)
  try {
    await volume.read(bytes, offset)
  } catch (error) {
    pool.give(buffer)
    throw error
  }
  let holders = 1
  const release = () => {
    holders -= 1
    if (holders === 0) pool.give(buffer)
  }
  return { offset, length, bytes, retain: () => void holders++, release }
}
