import { fromHex } from '../base/bytes.ts'
import type { BlobTable } from './blob-table.ts'
import { RepositoryError } from './errors.ts'
import { type BlobType, blobIdLength, treeDepthMax } from './format.ts'
import type { IndexedPack } from './index.ts'
import { type BlobSource, readSnapshot, readTree } from './reader.ts'

/* Which blobs the snapshots that stay need: one bit for each blob of the table. */

/** Entries of a table. */
export class EntrySet {
  readonly #bits: Uint8Array

  /** For entries below `size`. */
  constructor(size: number) {
    this.#bits = new Uint8Array(Math.ceil(size / 8))
  }

  has(entry: number): boolean {
    return ((this.#bits[entry >>> 3] ?? 0) & (1 << (entry & 7))) !== 0
  }

  /** Whether it was not there before. */
  add(entry: number): boolean {
    if (this.has(entry)) return false
    this.#bits[entry >>> 3] = (this.#bits[entry >>> 3] ?? 0) | (1 << (entry & 7))
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
  live: EntrySet,
  signal: AbortSignal,
): Promise<void> {
  const { tree } = await readSnapshot(source.repository, source.store, snapshotId, signal)
  await markTree(source, tree, 1, live, signal)
}

async function markTree(
  source: BlobSource,
  id: string,
  depth: number,
  live: EntrySet,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted()
  if (depth > treeDepthMax)
    throw new RepositoryError('REPOSITORY_LIMIT', `trees nested deeper than ${treeDepthMax}`)
  if (!live.add(entryOf(source.blobs, 'tree', fromHex(id, blobIdLength)))) return
  for (const node of await readTree(source, id, signal))
    if (node.type === 'dir') await markTree(source, node.subtree, depth + 1, live, signal)
    else if (node.type === 'file')
      for (const blob of node.content) live.add(entryOf(source.blobs, 'data', blob))
}

function entryOf(blobs: BlobTable, type: BlobType, id: Uint8Array): number {
  const entry = blobs.find(type, id)
  if (entry < 0) throw new RepositoryError('BLOB_MISSING', `a ${type} blob of a snapshot is in no index`)
  return entry
}

/**
 * Tells of the blobs of a pack whether it is this copy that is needed: of a blob in several packs, the one that the table
 * names.
 */
export function isNeeded(
  blobs: BlobTable,
  live: EntrySet,
  { id: packId }: IndexedPack,
): (blob: IndexedPack['blobs'][number]) => boolean {
  return ({ type, id, offset }) => {
    const entry = blobs.find(type, fromHex(id, blobIdLength))
    if (entry < 0 || !live.has(entry)) return false
    const location = blobs.location(entry)
    return location !== null && location.offset === offset && blobs.packId(location.pack) === packId
  }
}
