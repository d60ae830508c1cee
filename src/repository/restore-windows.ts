import { KiB, MiB, toHex } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { objectName } from '../storage/object-store.ts'
import type { BlobIds } from './blob-ids.ts'
import type { BlobLocation } from './blob-table.ts'
import { isZero } from './chunker.ts'
import { RepositoryError } from './errors.ts'
import { chunkBytesFor, zeroBlobBytes } from './format.ts'
import { Lanes } from './lanes.ts'
import { type PackedBlob, plainLengthOf } from './pack.ts'
import { type BlobSource, locate } from './reader.ts'
import { release } from './release.ts'

/*
 * A file from its blobs, in windows: the blobs of a window are fetched pack by pack in few long ranges and opened on
 * threads of their own, in whatever order they arrive. While one window is consumed the next ones are on their way.
 */

const windowBytesMax = 8 * MiB
/** Windows in memory beside the one that is consumed. */
const windowsAheadMax = 3
/** Blobs of one pack with less than this between them are fetched at once. */
const gapBytesMax = 64 * KiB
const rangeBytesMax = 16 * MiB
const fetchesMax = 4

export interface Piece {
  readonly length: number
  /** `null`: zeros. */
  readonly plaintext: Uint8Array | null
}

export interface Window {
  /** In order. Neighbours often are neighbours in memory, too. */
  readonly pieces: readonly Piece[]
  /** Gives the memory of all pieces back. */
  release(): void
}

/** The windows of a file of at most `bytesMax`, in order. Whoever iterates releases each. */
export async function* windowsAhead(
  source: BlobSource,
  content: BlobIds,
  bytesMax: number,
  signal: AbortSignal,
): AsyncGenerator<Window> {
  const ahead: Promise<Window>[] = []
  try {
    for (const plan of planWindows(source, content, bytesMax)) {
      signal.throwIfAborted()
      const fetched = fetchWindow(source, plan, signal)
      fetched.catch(() => {}) // thrown where it is awaited, which may be later than it happens
      ahead.push(fetched)
      const next = ahead.length > windowsAheadMax ? ahead.shift() : undefined
      if (next !== undefined) yield await next
    }
    for (let next = ahead.shift(); next !== undefined; next = ahead.shift()) yield await next
  } finally {
    await Promise.allSettled(ahead)
  }
}

interface PlannedPiece {
  readonly length: number
  /** `null`: zeros. */
  readonly blob: WantedBlob | null
}

interface WantedBlob {
  readonly id: string
  readonly location: BlobLocation
}

function* planWindows(
  { blobs }: BlobSource,
  content: BlobIds,
  bytesMax: number,
): Generator<readonly PlannedPiece[]> {
  const zeroBlobs = zeroBlobLengths()
  let window: PlannedPiece[] = []
  let windowBytes = 0
  let bytes = 0
  for (const id of content) {
    const hex = toHex(id)
    const zeroLength = zeroBlobs.get(hex)
    const blob = zeroLength === undefined ? { id: hex, location: locate(blobs, 'data', id) } : null
    const length = blob === null ? (zeroLength ?? 0) : plainLengthOf(blob.location)
    bytes += length
    if (bytes > bytesMax)
      throw new RepositoryError('VOLUME_DIGEST', `the blobs of a volume have more than its ${bytesMax} bytes`)
    if (windowBytes + length > windowBytesMax && window.length > 0) {
      yield window
      window = []
      windowBytes = 0
    }
    window.push({ length, blob })
    windowBytes += length
  }
  if (window.length > 0) yield window
}

/** Ids of the zero blobs that make up nearly all zeros, with their lengths: they are not worth fetching. */
function zeroBlobLengths(): ReadonlyMap<string, number> {
  const zeros = new Uint8Array(zeroBlobBytes)
  const lengths = [zeroBlobBytes, chunkBytesFor(0)]
  return new Map(lengths.map(length => [toHex(sha256(zeros.subarray(0, length))), length]))
}

async function fetchWindow(
  source: BlobSource,
  window: readonly PlannedPiece[],
  signal: AbortSignal,
): Promise<Window> {
  const unique = new Map(window.flatMap(({ blob }) => (blob === null ? [] : [[blob.id, blob]])))
  const plaintexts = new Map<string, Uint8Array | null>()
  const buffers: Uint8Array[] = []
  const lanes = new Lanes(fetchesMax)
  try {
    for (const range of rangesOf([...unique.values()])) {
      await lanes.room()
      // Opened in the order of the volume, so that neighbours there become neighbours in memory.
      const wanted = [...unique.values()].filter(blob => range.blobs.has(blob))
      lanes.start(async () => {
        const opened = await fetchRange(source, range, wanted, signal)
        buffers.push(opened)
        let at = 0
        for (const { id, location } of wanted) {
          const plaintext = opened.subarray(at, at + plainLengthOf(location))
          plaintexts.set(id, isZero(plaintext) ? null : plaintext)
          at += plaintext.byteLength
        }
      })
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
  const pieces = window.map(({ length, blob }) => ({
    length,
    plaintext: blob === null ? null : (plaintexts.get(blob.id) ?? null),
  }))
  return { pieces, release: () => buffers.forEach(release) }
}

interface Range {
  readonly pack: number
  readonly offset: number
  length: number
  readonly blobs: Set<WantedBlob>
}

/** Few long ranges: neighbours together. */
function rangesOf(wanted: readonly WantedBlob[]): readonly Range[] {
  const sorted = wanted.toSorted(({ location: a }, { location: b }) => a.pack - b.pack || a.offset - b.offset)
  const ranges: Range[] = []
  for (const blob of sorted) {
    const { pack, offset, length } = blob.location
    const last = ranges.at(-1)
    const end = offset + length
    if (
      last?.pack === pack &&
      offset - (last.offset + last.length) <= gapBytesMax &&
      end - last.offset <= rangeBytesMax
    ) {
      last.length = Math.max(last.length, end - last.offset)
      last.blobs.add(blob)
    } else ranges.push({ pack, offset, length, blobs: new Set([blob]) })
  }
  return ranges
}

/** The plaintexts of the wanted blobs, one behind the other. */
async function fetchRange(
  { repository, store, blobs }: BlobSource,
  { pack, offset, length }: Range,
  wanted: readonly WantedBlob[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const id = blobs.packId(pack)
  const answer = await store.get(objectName('data', id), { offset, length }, signal)
  return answer.parse(untrustedBytes => {
    if (untrustedBytes.byteLength !== length)
      throw new RepositoryError(
        'OBJECT_WRONG',
        `${untrustedBytes.byteLength} bytes of a pack; ${length} were asked for`,
      )
    const packed = wanted.map(({ id, location }): PackedBlob => ({ type: 'data', id, ...location }))
    return repository.threads.do({ kind: 'open', id, offset, untrustedBytes, blobs: packed })
  })
}
