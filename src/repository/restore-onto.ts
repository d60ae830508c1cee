import { ChunkSet } from './chunk-set.ts'
import { chunksThere, type ReadAt } from './chunks-there.ts'
import type { BlobSource, SnapshotVolume } from './reader.ts'
import { type RestoreProgress, readContent, restoreChunks, type WriterSink } from './restore.ts'

/** What has something in it already. */
export interface ExistingTarget extends WriterSink {
  readonly read: ReadAt
}

/**
 * Makes of what a target holds the volume: only chunks that differ are fetched and written, zeros too. Once it resolves
 * every chunk was either compared with the volume's or written. Throws what `restoreVolume` does.
 */
export async function updateVolume(
  source: BlobSource,
  volume: SnapshotVolume,
  target: ExistingTarget,
  onProgress: RestoreProgress,
  signal: AbortSignal,
): Promise<void> {
  const content = await readContent(source, volume, signal)
  const differing = ChunkSet.all(content.length)
  const there = await chunksThere(target.read, content, differing, async () => {}, signal)
  for (const chunk of there) differing.delete(chunk)
  const zeros = new Uint8Array(content.chunkBytes)
  for (const chunk of differing)
    if (content.get(chunk) === null)
      await target.write(zeros.subarray(0, content.bytesOf(chunk)), chunk * content.chunkBytes)
  await restoreChunks(source, content, differing, target, onProgress, signal)
}
