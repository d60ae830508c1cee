import { toHex, utf8 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { RecordView } from './blob-records.ts'
import { indexBlobsMax, indexBytesMax } from './format.ts'
import { scanIndex } from './index-scan.ts'
import type { PackedBlob } from './pack.ts'
import { openUnpacked } from './unpacked.ts'

/* "Indexing": which blob is where. Every blob of a pack is in the same index file, and a pack in one file only. */

export interface IndexedPack {
  readonly id: Digest
  readonly blobs: readonly PackedBlob[]
}

export function encodeIndex(packs: readonly IndexedPack[]): Uint8Array {
  return utf8(
    JSON.stringify({
      packs: packs.map(({ id, blobs }) => ({
        id,
        blobs: blobs.map(({ id, type, offset, length, uncompressedLength }) => ({
          id,
          type,
          offset,
          length,
          ...(uncompressedLength > 0 ? { uncompressed_length: uncompressedLength } : {}),
        })),
      })),
    }),
  )
}

/** Groups packs into index files of at most `indexBlobsMax` blobs; a pack is never divided. */
export function* groupForIndexes(packs: Iterable<IndexedPack>): Iterable<readonly IndexedPack[]> {
  let group: IndexedPack[] = []
  let blobs = 0
  for (const pack of packs) {
    if (group.length > 0 && blobs + pack.blobs.length > indexBlobsMax) {
      yield group
      group = []
      blobs = 0
    }
    group.push(pack)
    blobs += pack.blobs.length
  }
  if (group.length > 0) yield group
}

/** As objects; `scanIndex` is for many of them. */
export function parseIndex(untrustedPlaintext: Uint8Array): readonly IndexedPack[] {
  const { packs, records } = scanIndex(untrustedPlaintext)
  const fields = new RecordView(records.bytes())
  return packs.map(({ id, first, count }) => ({
    id: toHex(id) as Digest,
    blobs: Array.from({ length: count }, (_, record) => fields.blob(first + record)),
  }))
}

/** The packs of a sealed index object. Throws `MAC_WRONG`, `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`. */
export async function openIndex(
  key: RepositoryKey,
  untrustedBody: Uint8Array,
): Promise<readonly IndexedPack[]> {
  return parseIndex(await openUnpacked(key, untrustedBody, indexBytesMax))
}
