import { utf8 } from '../base/bytes.ts'
import { is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { indexBlobsMax, indexBytesMax, packBytesMax } from './format.ts'
import { checkBlobLengths, type PackedBlob } from './pack.ts'
import { knownFields, parseFormat } from './shape.ts'
import { openUnpacked } from './unpacked.ts'

/* "Indexing": which blob is where. Every blob of a pack is in the same index file, and a pack in one file only. */

export interface IndexedPack {
  readonly id: Digest
  readonly blobs: readonly PackedBlob[]
}

/** More than any file of stock restic holds; the bytes are bounded too. */
const packsMax = 200_000
const blobsMax = 1_000_000

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

const u32 = is.integer(0, packBytesMax)
const indexShape = knownFields('index', {
  packs: is.array(
    knownFields('pack', {
      id: is.name(parseDigest),
      blobs: is.array(
        knownFields('blob', {
          id: is.name(parseDigest),
          type: is.literal('data', 'tree'),
          offset: u32,
          length: u32,
          uncompressed_length: is.optional(is.integer(1, packBytesMax)),
        }),
        blobsMax,
      ),
    }),
    packsMax,
  ),
})

/** A snapshot put in the place of an index has no `packs`, and is refused. */
export function parseIndex(untrustedPlaintext: Uint8Array): readonly IndexedPack[] {
  return parseFormat('an index', () =>
    indexShape(parseJson(untrustedPlaintext, { bytesMax: indexBytesMax })).packs.map(({ id, blobs }) => ({
      id,
      blobs: blobs.map(({ uncompressed_length, ...blob }) => {
        checkBlobLengths(blob.type, blob.length, uncompressed_length ?? 0, uncompressed_length !== undefined)
        return { ...blob, uncompressedLength: uncompressed_length ?? 0 }
      }),
    })),
  )
}

/** The packs of a sealed index object. Throws `MAC_WRONG`, `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`. */
export async function openIndex(
  key: RepositoryKey,
  untrustedBody: Uint8Array,
): Promise<readonly IndexedPack[]> {
  return parseIndex(await openUnpacked(key, untrustedBody, indexBytesMax))
}
