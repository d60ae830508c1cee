import type { Extent } from '../host/volumes.ts'
import { RepositoryError } from './errors.ts'

/*
 * Volumes are cut at fixed offsets, multiples of the chunk size: a block that changes changes one chunk, and where
 * chunks end says nothing about what is in them.
 */

/** A part of a volume that begins at a chunk. `hole`: known to be zero without reading. */
export interface Segment {
  readonly kind: 'data' | 'hole'
  readonly offset: number
  readonly length: number
}

/**
 * Cuts the extents of a volume into segments of at most `segmentBytes`, a multiple of `chunkBytes`. A chunk that lies
 * only partly in a hole is data. Throws `VOLUME_EXTENTS` unless they are ascending and cover the volume.
 */
export async function* segmentsOf(
  extents: AsyncIterable<Extent>,
  volumeBytes: number,
  { chunkBytes, segmentBytes }: { readonly chunkBytes: number; readonly segmentBytes: number },
): AsyncGenerator<Segment> {
  let offset = 0 // a multiple of chunkBytes until the end
  let end = 0
  /** Of what lies between `offset` and `end` and has not been given out. */
  let kind: Segment['kind'] = 'hole'
  for await (const extent of extents) {
    checkExtent(extent, end, volumeBytes)
    if (extent.length === 0) continue
    const extentKind = extent.kind === 'hole' ? 'hole' : 'data'
    // What is whole so far goes out under its own kind; the chunk in which the kind changes is data.
    if (extentKind !== kind) {
      const whole = end - (end % chunkBytes)
      if (whole > offset) yield* cut(kind, offset, whole, segmentBytes)
      offset = Math.max(offset, whole)
      kind = offset < end ? 'data' : extentKind
    }
    end = extent.offset + extent.length
    if (kind !== extentKind && end - offset >= chunkBytes) {
      yield* cut(kind, offset, offset + chunkBytes, segmentBytes)
      offset += chunkBytes
      kind = extentKind
    }
  }
  if (end !== volumeBytes)
    throw new RepositoryError('VOLUME_EXTENTS', `the extents end at ${end} of ${volumeBytes} bytes`)
  yield* cut(kind, offset, end, segmentBytes)
}

function checkExtent({ offset, length }: Extent, end: number, volumeBytes: number): void {
  if (offset !== end || !Number.isSafeInteger(length) || length < 0 || offset + length > volumeBytes)
    throw new RepositoryError(
      'VOLUME_EXTENTS',
      `an extent of ${length} bytes at ${offset} of ${volumeBytes}; expected one at ${end}`,
    )
}

function* cut(kind: Segment['kind'], offset: number, end: number, segmentBytes: number): Generator<Segment> {
  for (let at = offset; at < end; at += segmentBytes)
    yield { kind, offset: at, length: Math.min(segmentBytes, end - at) }
}

/** Compares the bytes with themselves, shifted by a few: at the speed of memory, and at once over for most data. */
export function isZero(bytes: Uint8Array): boolean {
  const shift = 16
  for (let at = 0; at < Math.min(shift, bytes.byteLength); at++) if (bytes[at] !== 0) return false
  if (bytes.byteLength <= shift) return true
  return Buffer.compare(bytes.subarray(0, bytes.byteLength - shift), bytes.subarray(shift)) === 0
}
