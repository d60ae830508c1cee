import { MiB } from '../base/bytes.ts'
import { Sha256 } from '../crypto/digest.ts'
import type { BlobIds } from './blob-ids.ts'
import { RepositoryError } from './errors.ts'
import { zeroBlobBytes } from './format.ts'
import { eventLoopTurn, Lanes } from './lanes.ts'
import { type BlobSource, fileOf, readTree, type SnapshotVolume } from './reader.ts'
import { type Piece, windowsAhead } from './restore-windows.ts'
import { imageSuffix } from './snapshot.ts'

const writesMax = 4
const writeBytesMax = MiB

export interface RestoreSink {
  /** Ranges that are never written are zeros. `bytes`, at most 8 MiB, are good until the promise settles. */
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** true: `bytes` are good for as long as the sink holds them, e.g. in a stream that passes them on. */
  readonly holdsBytes?: boolean
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
  const content = await contentOf(source, volume, signal)
  const digest = await restoreContent(source, content, volume.bytes, sink, onProgress, signal)
  if (digest !== volume.sha256)
    throw new RepositoryError(
      'VOLUME_DIGEST',
      `volume '${volume.name}' has SHA-256 ${digest.slice(0, 16)}…; the manifest says ${volume.sha256.slice(0, 16)}…`,
    )
}

/** As `restoreVolume`, for a sink that hashes what it gets and compares it with the manifest by itself. */
export async function sendVolume(
  source: BlobSource,
  volume: SnapshotVolume,
  sink: RestoreSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const content = await contentOf(source, volume, signal)
  await writeContent(source, content, volume.bytes, sink, null, onProgress, signal)
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
  await writeContent(source, content, bytes, sink, digest, onProgress, signal)
  return digest.finish()
}

async function contentOf(source: BlobSource, { tree, name }: SnapshotVolume, signal: AbortSignal) {
  return fileOf(await readTree(source, tree, signal), name + imageSuffix).content
}

async function writeContent(
  source: BlobSource,
  content: BlobIds,
  bytes: number,
  sink: RestoreSink,
  digest: Sha256 | null,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const writes = new Lanes(writesMax)
  let bytesDone = 0
  try {
    for await (const window of windowsAhead(source, content, bytes, signal)) {
      for (const { length, plaintext } of joined(window.pieces)) {
        digest?.update(plaintext ?? zeros.subarray(0, length))
        if (plaintext !== null) {
          const offset = bytesDone
          await writes.room()
          writes.start(() => sink.write(plaintext, offset))
        }
        bytesDone += length
      }
      await writes.idle()
      if (!sink.holdsBytes) window.release()
      onProgress({ bytesDone, bytesTotal: bytes })
      await eventLoopTurn()
      signal.throwIfAborted()
    }
  } finally {
    await writes.settled()
  }
  if (bytesDone !== bytes)
    throw new RepositoryError(
      'VOLUME_DIGEST',
      `the blobs of a volume have ${bytesDone} bytes; expected ${bytes}`,
    )
}

const zeros = new Uint8Array(zeroBlobBytes)

/** Pieces that follow one another in memory become one: a few long writes instead of many. */
function* joined(pieces: readonly Piece[]): Generator<Piece> {
  let run: Piece | null = null
  for (const piece of pieces) {
    const longer: Piece | null = run === null ? piece : join(run, piece)
    if (longer === null && run !== null) yield run
    run = longer ?? piece
  }
  if (run !== null) yield run
}

function join({ plaintext: before, length }: Piece, { plaintext: after }: Piece): Piece | null {
  if (before === null || after === null || before.buffer !== after.buffer) return null
  const bytes = length + after.byteLength
  if (before.byteOffset + length !== after.byteOffset || bytes > writeBytesMax) return null
  return { length: bytes, plaintext: new Uint8Array(before.buffer, before.byteOffset, bytes) }
}
