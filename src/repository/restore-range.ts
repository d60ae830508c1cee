import { type ByteRange, within } from '../base/byte-range.ts'
import { ChunkSet } from './chunk-set.ts'
import type { BlobSource, SnapshotVolume } from './reader.ts'
import { type RestoreProgress, readContent, restoreChunks, type WriterSink } from './restore.ts'

/**
 * As `restoreVolume`, of a range that lies within the volume: its first byte is written at 0, and only chunks that have a
 * byte of it are fetched.
 */
export async function restoreRange(
  source: BlobSource,
  volume: SnapshotVolume,
  range: ByteRange,
  sink: WriterSink,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const content = await readContent(source, volume, signal)
  const chunks = ChunkSet.within(range, content.length, content.chunkBytes)
  const cut: WriterSink = {
    holdsBytes: sink.holdsBytes ?? false,
    write: (bytes, offset) => sink.write(within(range, bytes, offset), Math.max(offset - range.offset, 0)),
  }
  await restoreChunks(source, content, chunks, cut, onProgress, signal)
}
