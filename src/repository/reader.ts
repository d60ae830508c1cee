import { fromHex, toHex } from '../base/bytes.ts'
import { type Digest, parseDigest, type VmName } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type ObjectKind, type ObjectStore, objectBytesMax, objectName } from '../storage/object-store.ts'
import { openBlob } from './blob.ts'
import type { BlobIds } from './blob-ids.ts'
import { type BlobLocation, BlobTable } from './blob-table.ts'
import { RepositoryError } from './errors.ts'
import { type BlobType, blobIdLength } from './format.ts'
import { type IndexedPack, openIndex } from './index.ts'
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
  readonly blobs: BlobTable
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

/** Adds the packs of an index. Of a blob in several packs the first stays. */
export function addToTable(table: BlobTable, packs: readonly IndexedPack[]): void {
  for (const { id, blobs } of packs) {
    const pack = table.addPack(id)
    for (const { type, id, offset, length, uncompressedLength } of blobs) {
      const blobId = fromHex(id, blobIdLength)
      if (table.find(type, blobId) < 0)
        table.place(table.claim(type, blobId), { pack, offset, length, uncompressedLength })
    }
  }
}

/** The blobs that these sealed index objects name. Throws `MAC_WRONG`, `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`. */
export async function loadKnown(
  repository: Repository,
  indexObjects: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<BlobTable> {
  const table = new BlobTable()
  for await (const body of indexObjects) addToTable(table, await openIndex(repository.key, body))
  return table
}

/** As `loadKnown`, from the storage, by the ids that the ledger names. */
export async function fetchKnown(
  repository: Repository,
  store: ObjectStore,
  indexIds: readonly string[],
  signal: AbortSignal,
): Promise<BlobTable> {
  async function* bodies(): AsyncGenerator<Uint8Array> {
    for (const id of indexIds) yield await fetchObject(store, 'index', id, signal)
  }
  return loadKnown(repository, bodies())
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
  return parseTree(await readBlob(source, 'tree', fromHex(parseDigest(id), blobIdLength), signal))
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

export async function readBlob(
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
export function locate(blobs: BlobTable, type: BlobType, id: Uint8Array): BlobLocation {
  const entry = blobs.find(type, id)
  const location = entry < 0 ? null : blobs.location(entry)
  if (location === null)
    throw new RepositoryError('BLOB_MISSING', `${type} blob ${toHex(id).slice(0, 16)}… is in no index`)
  return location
}
