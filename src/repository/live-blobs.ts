import { fromHex } from '../base/bytes.ts'
import { RepositoryError } from './errors.ts'
import { blobIdLength, treeDepthMax } from './format.ts'
import type { TablePack } from './index-table-reader.ts'
import type { PackedBlob } from './pack.ts'
import { type BlobSource, locate, readSnapshot, readTree } from './reader.ts'

/* Which blobs the snapshots that stay need: one bit for each record of the index table. */

/** Records of a table. */
export class RecordSet {
  readonly #bits: Uint8Array

  /** For records below `size`. */
  constructor(size: number) {
    this.#bits = new Uint8Array(Math.ceil(size / 8))
  }

  has(record: number): boolean {
    return ((this.#bits[record >>> 3] ?? 0) & (1 << (record & 7))) !== 0
  }

  /** Whether it was not there before. */
  add(record: number): boolean {
    if (this.has(record)) return false
    this.#bits[record >>> 3] = (this.#bits[record >>> 3] ?? 0) | (1 << (record & 7))
    return true
  }
}

/**
 * Adds every blob that a snapshot needs. Trees that are in `live` already have been walked before. Throws `BLOB_MISSING`
 * when no index names one of them, and what reading throws.
 */
export async function markSnapshot(
  source: BlobSource,
  snapshotId: string,
  live: RecordSet,
  signal: AbortSignal,
): Promise<void> {
  const { tree } = await readSnapshot(source.repository, source.store, snapshotId, signal)
  await markTree(source, tree, 1, live, signal)
}

async function markTree(
  source: BlobSource,
  id: string,
  depth: number,
  live: RecordSet,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  if (depth > treeDepthMax)
    throw new RepositoryError('REPOSITORY_LIMIT', `trees nested deeper than ${treeDepthMax}`)
  if (!live.add(locate(source.blobs, 'tree', fromHex(id, blobIdLength)).record)) return
  for (const node of await readTree(source, id, signal))
    if (node.type === 'dir') await markTree(source, node.subtree, depth + 1, live, signal)
    else if (node.type === 'file')
      for (const blob of node.content) live.add(locate(source.blobs, 'data', blob).record)
}

/**
 * The blobs of a pack that are needed, as they lie. Of a blob in several packs it is the copy that the table finds: the one
 * with the lowest record.
 */
export function neededBlobs(live: RecordSet, { blobs, firstRecord }: TablePack): readonly PackedBlob[] {
  return blobs.filter((_, at) => live.has(firstRecord + at))
}
