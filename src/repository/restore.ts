import { MiB } from '../base/bytes.ts'
import { release } from '../base/memory.ts'
import { objectName } from '../storage/object-store.ts'
import type { BlobIds } from './blob-ids.ts'
import { ChunkSet } from './chunk-set.ts'
import type { ContentMap } from './content-map.ts'
import { RepositoryError } from './errors.ts'
import { zeroBlobBytes } from './format.ts'
import { Lanes } from './lanes.ts'
import { type PackedBlob, plainLengthOf } from './pack.ts'
import { type BlobSource, fileOf, locate, readTree, type SnapshotVolume } from './reader.ts'
import { type PackRange, type Piece, planRestore, type RestorePlan, type WantedBlob } from './restore-plan.ts'
import { imageSuffix } from './snapshot.ts'
import { volumeContent } from './volume-content.ts'
import { ZeroBlobs } from './zero-blobs.ts'

const writeBytesMax = MiB

/** Where restored bytes go. They arrive in any order, each once, and zeros not at all. */
export type RestoreSink = WriterSink | FileSink

export interface WriterSink {
  /** `bytes`, at most 8 MiB, are good until the promise settles. */
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** true: `bytes` are good for as long as the sink holds them, e.g. in a stream that passes them on. */
  readonly holdsBytes?: boolean
}

/** A file or device that is as long as the volume and reads as zeros, written by the threads that open the blobs. */
export interface FileSink {
  readonly path: string
}

export type RestoreProgress = (progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void

/**
 * Writes a volume into a sink, without its zeros. Every blob is compared with its id, and the ids with the digest in the
 * manifest. What was written before an error is not to be used. Throws `VOLUME_DIGEST`, `BLOB_MISSING`, `BLOB_WRONG`,
 * `MAC_WRONG`, and what store and sink throw.
 */
export async function restoreVolume(
  source: BlobSource,
  volume: SnapshotVolume,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const content = await readContent(source, volume, signal)
  await restoreChunks(source, content, ChunkSet.all(content.length), sink, onProgress, signal)
}

/** The chunks of a volume, which have the digest that the manifest gives: throws `VOLUME_DIGEST`. */
export async function readContent(
  source: BlobSource,
  volume: SnapshotVolume,
  signal: AbortSignal,
): Promise<ContentMap> {
  const { content } = fileOf(await readTree(source, volume.tree, signal), volume.name + imageSuffix)
  return volumeContent(volume, content)
}

/** Writes those of the chunks that are not zeros. */
export async function restoreChunks(
  source: BlobSource,
  content: ContentMap,
  chunks: ChunkSet,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const plan = planRestore(source, piecesOf(content, chunks))
  await restorePlanned(source, plan, content.volumeBytes, sink, onProgress, signal)
}

/** Writes a file of exactly `bytes`, however it is cut into blobs. */
export async function restoreContent(
  source: BlobSource,
  content: BlobIds,
  bytes: number,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const plan = planRestore(source, filePieces(source, content, bytes))
  await restorePlanned(source, plan, bytes, sink, onProgress, signal)
}

function* piecesOf(content: ContentMap, chunks: ChunkSet): Generator<Piece> {
  for (const chunk of chunks) {
    const id = content.get(chunk)
    if (id !== null) yield { id, offset: chunk * content.chunkBytes, bytes: content.bytesOf(chunk) }
  }
}

/** Zeros left out. Throws `VOLUME_DIGEST` at the end of a file of another length. */
function* filePieces(source: BlobSource, ids: BlobIds, bytes: number): Generator<Piece> {
  const zeros = new ZeroBlobs(bytes, zeroBlobBytes)
  let at = 0
  for (const id of ids) {
    const zeroBytes = zeros.lengthOf(id)
    const length = zeroBytes ?? plainLengthOf(locate(source.blobs, 'data', id))
    if (zeroBytes === null) yield { id, offset: at, bytes: length }
    at += length
  }
  if (at !== bytes)
    throw new RepositoryError('VOLUME_DIGEST', `the blobs of a file have ${at} bytes; expected ${bytes}`)
}

async function restorePlanned(
  source: BlobSource,
  plan: RestorePlan,
  bytesTotal: number,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  // While each thread has a range, the next is fetched.
  const lanes = new Lanes(source.repository.threads.width + 1)
  // What is not written is done.
  let bytesDone = bytesTotal - plan.bytes
  onProgress({ bytesDone, bytesTotal })
  try {
    for (const range of plan.ranges()) {
      await lanes.room()
      signal.throwIfAborted()
      lanes.start(async () => {
        await fetchRange(source, range, sink, signal)
        bytesDone += bytesOf(range)
        onProgress({ bytesDone, bytesTotal })
      })
    }
    await lanes.idle()
    signal.throwIfAborted()
  } finally {
    await lanes.settled()
  }
}

function bytesOf({ blobs }: PackRange): number {
  return blobs.reduce((sum, { location, targets }) => sum + targets.length * plainLengthOf(location), 0)
}

async function fetchRange(
  { repository, store, blobs }: BlobSource,
  range: PackRange,
  sink: RestoreSink,
  signal: AbortSignal,
): Promise<void> {
  const { offset, length } = range
  const id = blobs.packId(range.pack)
  const answer = await store.get(objectName('data', id), { offset, length }, signal)
  await answer.parse(async untrustedBytes => {
    if (untrustedBytes.byteLength !== length)
      throw new RepositoryError(
        'OBJECT_WRONG',
        `${untrustedBytes.byteLength} bytes of a pack; ${length} were asked for`,
      )
    const packed = range.blobs.map(({ id, location }): PackedBlob => ({ type: 'data', id, ...location }))
    const work = { id, offset, untrustedBytes, blobs: packed }
    if ('path' in sink) {
      const targets = range.blobs.map(blob => blob.targets)
      await repository.threads.do({ kind: 'write', ...work, path: sink.path, targets })
      return
    }
    const plaintexts = await repository.threads.do({ kind: 'open', ...work })
    for (const { bytes, offset } of writesOf(plaintexts, range.blobs)) {
      signal.throwIfAborted()
      await sink.write(bytes, offset)
    }
    if (!sink.holdsBytes) release(plaintexts)
  })
}

/** Blobs that follow one another in memory and in the volume are one write. */
function* writesOf(
  plaintexts: Uint8Array,
  blobs: readonly WantedBlob[],
): Generator<{ readonly bytes: Uint8Array; readonly offset: number }> {
  let at = 0
  let run: { from: number; to: number; offset: number } | null = null
  for (const { location, targets } of blobs) {
    const length = plainLengthOf(location)
    const [first = 0, ...others] = targets
    if (
      run !== null &&
      run.offset + (run.to - run.from) === first &&
      run.to + length - run.from <= writeBytesMax
    )
      run.to += length
    else {
      if (run !== null) yield { bytes: plaintexts.subarray(run.from, run.to), offset: run.offset }
      run = { from: at, to: at + length, offset: first }
    }
    for (const offset of others) yield { bytes: plaintexts.subarray(at, at + length), offset }
    at += length
  }
  if (run !== null) yield { bytes: plaintexts.subarray(run.from, run.to), offset: run.offset }
}
