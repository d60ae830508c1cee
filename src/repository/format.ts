import { GiB, KiB, MiB } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'

/*
 * Constants of the restic repository format, version 2 (https://restic.readthedocs.io/en/stable/100_references.html,
 * "Repository Format"), and the choices that the format leaves to whoever writes.
 */

export const formatVersion = 2

/** SHA-256 of the plaintext. */
export const blobIdLength = 32

export type BlobType = 'data' | 'tree'

/** A stored object by the SHA-256 of its stored bytes, as the ledger records it. */
export interface ObjectReference {
  readonly id: Digest
  readonly bytes: number
}

/** A stored object with its bytes, for whoever keeps a copy of its own. */
export interface StoredObject extends ObjectReference {
  readonly body: Uint8Array
}

/** "Fully in use": restic closes a pack at this size; a larger blob has a pack of its own. */
export const packBytesFull = 16 * MiB
/** Keeps the header of a pack of tiny blobs small, and a pack far below what an index file holds. */
export const packBlobsMax = 8192
export const indexBlobsMax = 50_000

/** What a blob may have in plain: restic's chunker ends at 8 MiB; a tree is one blob, whatever its size. */
export const blobBytesMax: Readonly<Record<BlobType, number>> = { data: 8 * MiB, tree: 256 * MiB }
export const keyFileBytesMax = 16 * KiB
export const configBytesMax = 16 * KiB
export const snapshotBytesMax = 1 * MiB
export const indexBytesMax = 64 * MiB
/** Offsets and lengths are u32. */
export const packBytesMax = 4 * GiB - 1
export const treeDepthMax = 8

/** restic's zero blob: `restore --sparse` makes holes of this one only. */
export const zeroBlobBytes = 512 * KiB

/** Beyond this a tree would need more ids than `blobBytesMax.tree` holds. */
export const volumeBytesMax = 1024 * GiB

/** Of what is read: a smaller chunk would make a volume a list of more ids than anyone can hold. */
export const chunkBytesMin = 16 * KiB

/** Volumes are cut at multiples of this; at most about 500 000 blobs a volume below 512 GiB. */
export function chunkBytesFor(volumeBytes: number): number {
  if (volumeBytes <= 128 * GiB) return 256 * KiB
  if (volumeBytes <= 256 * GiB) return 512 * KiB
  return MiB
}

/** Of zstd: measured against 2, 3 and 6 in bench/results. */
export const compressionLevel = 1

/** Nothing about the machine: the storage reads the key file. */
export const neutralName = 'strongroom'
