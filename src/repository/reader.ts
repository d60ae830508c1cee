import { fromHex, toHex } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import { type Digest, parseDigest, type VmName } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type ObjectKind, type ObjectStore, objectBytesMax, objectName } from '../storage/object-store.ts'
import { openBlob } from './blob.ts'
import type { BlobIds } from './blob-ids.ts'
import { RepositoryError } from './errors.ts'
import { type BlobType, blobIdLength } from './format.ts'
import type { IndexTable } from './index-table.ts'
import type { FoundBlob, IndexTableReader } from './index-table-reader.ts'
import { bringIndexTable, type IndexTableSource } from './index-table-update.ts'
import { type ManifestVolume, manifestBytesMax, manifestName, parseManifest } from './manifest.ts'
import type { Repository } from './repository.ts'
import { openSnapshot, type Snapshot, volumesDirectory } from './snapshot.ts'
import { parseTree, type TreeNode } from './tree.ts'

/*
 * Reading by name: whoever reads knows from the ledger which snapshot and which indexes there are, and the storage is
 * never asked what it has. Every object is compared with its name, every blob opened and compared with its id.
 */

/** What reading needs: keys, bytes, and where they are. */
export interface BlobSource {
  readonly repository: Repository
  readonly store: ObjectStore
  readonly blobs: IndexTableReader
}

export interface SnapshotVolume extends ManifestVolume {
  readonly vm: VmName
  /** Id of the tree of its VM. */
  readonly tree: string
}

export interface SnapshotListing {
  readonly volumes: readonly SnapshotVolume[]
  /** SHA-256 of the manifest, as the ledger has it. */
  readonly manifest: Digest
  readonly manifestBytes: Uint8Array
}

/** An object whose bytes are what its name says. Throws `OBJECT_WRONG`, and what the store throws. */
export async function fetchObject(
  store: ObjectStore,
  kind: Exclude<ObjectKind, 'config'>,
  id: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const answer = await store.get(objectName(kind, id), 'whole', signal)
  return answer.parse(untrustedBody => {
    if (untrustedBody.byteLength > objectBytesMax || sha256Hex(untrustedBody) !== id)
      throw new RepositoryError(
        'OBJECT_WRONG',
        `${kind}/${id.slice(0, 16)}… is served with ${untrustedBody.byteLength} other bytes`,
      )
    return untrustedBody
  })
}

/** Where a table of all blobs may be made: a path in a directory that exists. Nothing of it is needed afterwards. */
export interface TablePlace {
  readonly tablePath: string
  readonly entropy: Entropy
}

/**
 * A table of the blobs that these index objects name, where there is none yet. Throws `MAC_WRONG`,
 * `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`, `OBJECT_WRONG`, `INDEX_TABLE_FULL`, and what the store throws.
 */
export function fetchIndexTable(
  { key }: Repository,
  store: ObjectStore,
  indexes: readonly Digest[],
  { tablePath, ...how }: TablePlace & Pick<IndexTableSource, 'each'>,
  signal: AbortSignal,
): Promise<IndexTable> {
  const fetchIndex = (id: Digest) => fetchObject(store, 'index', id, signal)
  return bringIndexTable(tablePath, { ...how, key, indexes, fetchIndex }, signal)
}

export async function readSnapshot(
  repository: Repository,
  store: ObjectStore,
  snapshotId: string,
  signal: AbortSignal,
): Promise<Snapshot> {
  return openSnapshot(repository.key, await fetchObject(store, 'snapshots', snapshotId, signal))
}

/** The volumes of a snapshot, as its manifest has them. */
export async function listVolumes(
  source: BlobSource,
  snapshot: Snapshot,
  signal: AbortSignal,
): Promise<SnapshotListing> {
  const root = await readTree(source, snapshot.tree, signal)
  const nodes = await readTree(source, subtreeOf(root, volumesDirectory), signal)
  const manifest = await readFile(source, fileOf(nodes, manifestName).content, manifestBytesMax, signal)
  const volumes = parseManifest(manifest).flatMap(({ name: vm, volumes }) => {
    const tree = subtreeOf(nodes, vm)
    return volumes.map(volume => ({ ...volume, vm, tree }))
  })
  return { volumes, manifest: sha256Hex(manifest), manifestBytes: manifest }
}

export async function readTree(
  source: BlobSource,
  id: string,
  signal: AbortSignal,
): Promise<readonly TreeNode[]> {
  const plaintext = await readBlob(source, 'tree', fromHex(parseDigest(id), blobIdLength), signal)
  try {
    return parseTree(plaintext)
  } finally {
    // Of a volume of 64 GiB it has 17 MiB.
    release(plaintext)
  }
}

export function subtreeOf(nodes: readonly TreeNode[], name: string): string {
  const node = nodes.find(node => node.name === name)
  if (node?.type === 'dir') return node.subtree
  throw new RepositoryError('REPOSITORY_FORMAT', `the snapshot has no directory '${name}'`)
}

export function fileOf(nodes: readonly TreeNode[], name: string): TreeNode & { readonly type: 'file' } {
  const node = nodes.find(node => node.name === name)
  if (node?.type === 'file') return node
  throw new RepositoryError('REPOSITORY_FORMAT', `the snapshot has no file '${name}'`)
}

/** A small file in memory. */
export async function readFile(
  source: BlobSource,
  content: BlobIds,
  bytesMax: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for (const id of content) {
    const part = await readBlob(source, 'data', id, signal)
    bytes += part.byteLength
    if (bytes > bytesMax)
      throw new RepositoryError('REPOSITORY_LIMIT', `a file of more than ${bytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

async function readBlob(
  source: BlobSource,
  type: BlobType,
  id: Uint8Array,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const location = locate(source.blobs, type, id)
  const name = objectName('data', source.blobs.packId(location.pack))
  const { offset, length, uncompressedLength } = location
  const answer = await source.store.get(name, { offset, length }, signal)
  return answer.parse(untrustedSealed =>
    openBlob(source.repository.key, type, id, uncompressedLength, untrustedSealed),
  )
}

/** Throws `BLOB_MISSING` when no index names the blob. */
export function locate(blobs: IndexTableReader, type: BlobType, id: Uint8Array): FoundBlob {
  const found = blobs.find(type, id)
  if (found === null)
    throw new RepositoryError('BLOB_MISSING', `${type} blob ${toHex(id).slice(0, 16)}… is in no index`)
  return found
}
