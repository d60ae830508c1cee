import type { Extent } from '../host/volumes.ts'
import { RepositoryError } from './errors.ts'

/*
 * Volumes are cut at fixed offsets, multiples of the chunk size: a block that changes changes one chunk, and where
 * chunks end says nothing about what is in them.
 */

/** Whole chunks, or the end of the volume. */
export type Run = Extent

/**
 * The extents of a volume as ascending runs of whole chunks that cover it. A chunk that lies only partly in a hole, or partly in
 * what is unchanged, is data. Throws `VOLUME_EXTENTS` unless the extents are ascending and cover the volume.
 */
export async function* runsOf(
  extents: AsyncIterable<Extent>,
  volumeBytes: number,
  chunkBytes: number,
): AsyncGenerator<Run> {
  let done = 0
  for await (const { kind, offset, length } of joined(extents, volumeBytes)) {
    if (kind === 'data') continue
    const start = Math.ceil(offset / chunkBytes) * chunkBytes
    const end = offset + length
    const whole = end === volumeBytes ? end : end - (end % chunkBytes)
    if (whole <= start) continue
    if (start > done) yield { kind: 'data', offset: done, length: start - done }
    yield { kind, offset: start, length: whole - start }
    done = whole
  }
  if (done < volumeBytes) yield { kind: 'data', offset: done, length: volumeBytes - done }
}

/** Neighbours of the same kind as one. */
async function* joined(extents: AsyncIterable<Extent>, volumeBytes: number): AsyncGenerator<Extent> {
  let run = null as Extent | null
  let end = 0
  for await (const extent of extents) {
    const { kind, offset, length } = extent
    if (offset !== end || !Number.isSafeInteger(length) || length < 0 || offset + length > volumeBytes)
      throw new RepositoryError(
        'VOLUME_EXTENTS',
        `an extent of ${length} bytes at ${offset} of ${volumeBytes}; expected one at ${end}`,
      )
    end = offset + length
    if (length === 0) continue
    const before = run
    if (before?.kind === kind) run = { kind, offset: before.offset, length: before.length + length }
    else run = extent
    if (before !== null && before.kind !== kind) yield before
  }
  if (end !== volumeBytes)
    throw new RepositoryError('VOLUME_EXTENTS', `the extents end at ${end} of ${volumeBytes} bytes`)
  if (run !== null) yield run
}

/** Compares the bytes with themselves, shifted by a few: at the speed of memory, and at once over for most data. */
export function isZero(bytes: Uint8Array): boolean {
  const shift = 16
  for (let at = 0; at < Math.min(shift, bytes.byteLength); at++) if (bytes[at] !== 0) return false
  if (bytes.byteLength <= shift) return true
  return Buffer.compare(bytes.subarray(0, bytes.byteLength - shift), bytes.subarray(shift)) === 0
}
