import { KiB, MiB, toHex } from '../base/bytes.ts'
import { sealedOverheadBytes } from '../crypto/aead.ts'
import { Sha256, sha256 } from '../crypto/digest.ts'
import { objectName } from '../storage/object-store.ts'
import type { BlobIds } from './blob-ids.ts'
import type { BlobLocation } from './blob-table.ts'
import { isZero } from './chunker.ts'
import { RepositoryError } from './errors.ts'
import { chunkBytesFor, zeroBlobBytes } from './format.ts'
import { eventLoopTurn, Lanes } from './lanes.ts'
import { type BlobSource, fileOf, locate, openBlob, readTree, type SnapshotVolume } from './reader.ts'
import { imageSuffix } from './snapshot.ts'

/*
 * A volume from its blobs, in windows: the blobs of a window are fetched pack by pack in few long ranges, opened in
 * whatever order they arrive, and then written in order. While one window is written the next is fetched, so at most
 * two are in memory.
 */

const windowBytesMax = 24 * MiB
/** Blobs of one pack with less than this between them are fetched at once. */
const gapBytesMax = 64 * KiB
const rangeBytesMax = 16 * MiB
const fetchesMax = 4
const writesMax = 4

export interface RestoreSink {
  /** Ranges that are never written are zeros. `bytes` does not change afterwards. */
  write(bytes: Uint8Array, offset: number): Promise<void>
}

export type RestoreProgress = (progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void

/**
 * Writes a volume into a sink, without its zeros, and compares the whole with the manifest. What was written before an
 * error is not to be used. Throws `VOLUME_DIGEST`, `BLOB_MISSING`, `BLOB_WRONG`, `MAC_WRONG`, and what store and sink throw.
 */
export async function restoreVolume(
  source: BlobSource,
  volume: SnapshotVolume,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const { content } = fileOf(await readTree(source, volume.tree, signal), volume.name + imageSuffix)
  const digest = await restoreContent(source, content, volume.bytes, sink, onProgress, signal)
  if (digest !== volume.sha256)
    throw new RepositoryError(
      'VOLUME_DIGEST',
      `volume '${volume.name}' has SHA-256 ${digest.slice(0, 16)}…; the manifest says ${volume.sha256.slice(0, 16)}…`,
    )
}

/** Writes a file of exactly `bytes` and returns its SHA-256. */
export async function restoreContent(
  source: BlobSource,
  content: BlobIds,
  bytes: number,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<string> {
  const digest = new Sha256()
  const writes = new Lanes(writesMax)
  let bytesDone = 0
  try {
    for await (const window of windowsAhead(source, content, bytes, signal)) {
      for (const { length, plaintext } of window) {
        digest.update(plaintext ?? zeros.subarray(0, length))
        if (plaintext !== null && !isZero(plaintext)) {
          const offset = bytesDone
          await writes.room()
          writes.start(() => sink.write(plaintext, offset))
        }
        bytesDone += length
      }
      onProgress({ bytesDone, bytesTotal: bytes })
      await eventLoopTurn()
      signal.throwIfAborted()
    }
    await writes.idle()
  } finally {
    await writes.settled()
  }
  if (bytesDone !== bytes)
    throw new RepositoryError(
      'VOLUME_DIGEST',
      `the blobs of a volume have ${bytesDone} bytes; expected ${bytes}`,
    )
  return digest.finish()
}

const zeros = new Uint8Array(zeroBlobBytes)

/** Ids of the zero blobs that make up nearly all zeros, with their lengths: they are not worth fetching. */
function zeroBlobLengths(): ReadonlyMap<string, number> {
  const lengths = [zeroBlobBytes, chunkBytesFor(0)]
  return new Map(lengths.map(length => [toHex(sha256(zeros.subarray(0, length))), length]))
}

interface Piece {
  readonly length: number
  /** `null`: zeros. */
  readonly plaintext: Uint8Array | null
}

interface PlannedPiece {
  readonly length: number
  /** Index in the content; `null` for zeros. */
  readonly blob: WantedBlob | null
}

interface WantedBlob {
  readonly id: Uint8Array
  readonly location: BlobLocation
}

/** Fetches each window while the one before is consumed. */
async function* windowsAhead(
  source: BlobSource,
  content: BlobIds,
  bytesMax: number,
  signal: AbortSignal,
): AsyncGenerator<readonly Piece[]> {
  let ahead: Promise<readonly Piece[]> | null = null
  try {
    for (const plan of planWindows(source, content, bytesMax)) {
      signal.throwIfAborted()
      const fetched: Promise<readonly Piece[]> = fetchWindow(source, plan, signal)
      fetched.catch(() => {}) // thrown where it is awaited, which may be later than it happens
      const ready: Promise<readonly Piece[]> | null = ahead
      ahead = fetched
      if (ready !== null) yield await ready
    }
    const last = ahead
    ahead = null
    if (last !== null) yield await last
  } finally {
    await ahead?.catch(() => {})
  }
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
    const zeroLength = zeroBlobs.get(toHex(id))
    const blob = zeroLength === undefined ? { id, location: locate(blobs, 'data', id) } : null
    const length = zeroLength ?? plainLengthOf(blob?.location)
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

function plainLengthOf(location: BlobLocation | undefined): number {
  if (location === undefined) return 0
  return location.uncompressedLength > 0 ? location.uncompressedLength : location.length - sealedOverheadBytes
}

async function fetchWindow(
  source: BlobSource,
  window: readonly PlannedPiece[],
  signal: AbortSignal,
): Promise<readonly Piece[]> {
  const plaintexts = new Map<string, Uint8Array>()
  const lanes = new Lanes(fetchesMax)
  try {
    for (const range of rangesOf(window.flatMap(({ blob }) => blob ?? []))) {
      await lanes.room()
      lanes.start(() => fetchRange(source, range, plaintexts, signal))
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
  return window.map(({ length, blob }) => ({
    length,
    plaintext: blob === null ? null : (plaintexts.get(toHex(blob.id)) ?? null),
  }))
}

interface Range {
  readonly pack: number
  readonly offset: number
  length: number
  readonly blobs: WantedBlob[]
}

/** Few long ranges: every blob once, neighbours together. */
function rangesOf(wanted: readonly WantedBlob[]): readonly Range[] {
  const unique = [...new Map(wanted.map(blob => [toHex(blob.id), blob])).values()]
  unique.sort(({ location: a }, { location: b }) => a.pack - b.pack || a.offset - b.offset)
  const ranges: Range[] = []
  for (const blob of unique) {
    const { pack, offset, length } = blob.location
    const last = ranges.at(-1)
    const end = offset + length
    if (
      last?.pack === pack &&
      offset - (last.offset + last.length) <= gapBytesMax &&
      end - last.offset <= rangeBytesMax
    ) {
      last.length = Math.max(last.length, end - last.offset)
      last.blobs.push(blob)
    } else ranges.push({ pack, offset, length, blobs: [blob] })
  }
  return ranges
}

async function fetchRange(
  { repository, store, blobs }: BlobSource,
  range: Range,
  plaintexts: Map<string, Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const { offset, length } = range
  const answer = await store.get(objectName('data', blobs.packId(range.pack)), { offset, length }, signal)
  await answer.parse(async untrustedBytes => {
    if (untrustedBytes.byteLength !== length)
      throw new RepositoryError(
        'OBJECT_WRONG',
        `${untrustedBytes.byteLength} bytes of a pack; ${length} were asked for`,
      )
    const opened = range.blobs.map(async ({ id, location }) => {
      const at = location.offset - offset
      const untrustedSealed = untrustedBytes.subarray(at, at + location.length)
      plaintexts.set(toHex(id), await openBlob(repository, 'data', id, location, untrustedSealed))
    })
    await Promise.all(opened)
  })
}
