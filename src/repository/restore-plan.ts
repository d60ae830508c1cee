import { KiB, MiB, toHex } from '../base/bytes.ts'
import { BlobIds } from './blob-ids.ts'
import { RepositoryError } from './errors.ts'
import type { BlobLocation, IndexTableReader } from './index-table-reader.ts'
import { plainLengthOf } from './pack.ts'
import { type BlobSource, locate } from './reader.ts'

/*
 * How a file, or what is wanted of it, is fetched: pack by pack, each in few long ranges, in the order of the packs and not of
 * the file, so that nothing is fetched twice.
 */

/** Blobs of one pack with less than this between them are fetched at once. */
const gapBytesMax = 64 * KiB
const rangeBytesMax = 16 * MiB
/** Of the plaintexts of a range, which are in memory together. */
const plainBytesMax = 16 * MiB

/** A blob that is wanted, where in the file it belongs, and how long it must be. */
export interface Piece {
  readonly id: Uint8Array
  readonly offset: number
  readonly bytes: number
}

export interface WantedBlob {
  /** 64 hex digits. */
  readonly id: string
  readonly location: BlobLocation
  /** Where in the file it belongs, ascending. */
  readonly targets: readonly number[]
}

/** A part of one pack, and the blobs that are wanted of it, in the order of the file. */
export interface PackRange {
  readonly pack: number
  readonly offset: number
  readonly length: number
  readonly blobs: readonly WantedBlob[]
}

export interface RestorePlan {
  /** Of what will be written. */
  readonly bytes: number
  ranges(): Iterable<PackRange>
}

/** Throws `BLOB_MISSING`, and `VOLUME_DIGEST` for a blob of another length. */
export function planRestore({ blobs }: BlobSource, pieces: Iterable<Piece>): RestorePlan {
  const ids = new BlobIds()
  const offsets: number[] = []
  const places: number[] = []
  const records: number[] = []
  let bytes = 0
  for (const piece of pieces) {
    const location = locate(blobs, 'data', piece.id)
    if (plainLengthOf(location) !== piece.bytes)
      throw new RepositoryError(
        'VOLUME_DIGEST',
        `a blob of ${plainLengthOf(location)} bytes where a chunk has ${piece.bytes}`,
      )
    ids.push(piece.id)
    offsets.push(piece.offset)
    records.push(location.record)
    places.push(location.pack * 2 ** 32 + location.offset)
    bytes += piece.bytes
  }
  const order = Uint32Array.from(places.keys()).sort((a, b) => (places[a] ?? 0) - (places[b] ?? 0) || a - b)
  return { bytes, ranges: () => rangesOf(blobs, ids, records, offsets, order) }
}

interface OpenRange {
  readonly pack: number
  readonly offset: number
  end: number
  plainBytes: number
  readonly blobs: WantedBlob[]
}

function* rangesOf(
  blobs: IndexTableReader,
  ids: BlobIds,
  records: readonly number[],
  offsets: readonly number[],
  order: Uint32Array,
): Generator<PackRange> {
  let range: OpenRange | null = null
  for (let at = 0; at < order.length; ) {
    const first = order[at] ?? 0
    const record = records[first] ?? 0
    const targets: number[] = []
    for (; at < order.length && records[order[at] ?? 0] === record; at++)
      targets.push(offsets[order[at] ?? 0] ?? 0)
    const location = blobs.location(record)
    if (range !== null && !fits(range, location)) {
      yield finished(range)
      range = null
    }
    const { pack, offset, length } = location
    range ??= { pack, offset, end: offset, plainBytes: 0, blobs: [] }
    range.end = Math.max(range.end, offset + length)
    range.plainBytes += plainLengthOf(location)
    range.blobs.push({ id: toHex(ids.at(first)), location, targets })
  }
  if (range !== null) yield finished(range)
}

function fits(range: OpenRange, location: BlobLocation): boolean {
  const { pack, offset, length } = location
  return (
    range.pack === pack &&
    offset - range.end <= gapBytesMax &&
    offset + length - range.offset <= rangeBytesMax &&
    range.plainBytes + plainLengthOf(location) <= plainBytesMax
  )
}

/** In the order of the file, so that neighbours there are written at once. */
function finished({ pack, offset, end, blobs }: OpenRange): PackRange {
  const inOrder = blobs.sort((a, b) => (a.targets[0] ?? 0) - (b.targets[0] ?? 0))
  return { pack, offset, length: end - offset, blobs: inOrder }
}
