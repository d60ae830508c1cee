import { fromHex, toHex, utf8, view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import type { Digest } from '../base/names.ts'
import { type RepositoryKey, sealedOverheadBytes } from '../crypto/aead.ts'
import { sha256Length } from '../crypto/digest.ts'
import { OffsetCipher, offsetAlignment, offsetKeyLength } from '../crypto/offset-cipher.ts'
import { filterBytesFor } from './blob-filter.ts'
import { recordBytes } from './blob-records.ts'
import { RepositoryError } from './errors.ts'
import { keyBytes, samplesBytesFor } from './sorted-keys.ts'

/*
 * A file of all blobs of a set of index objects, for repositories that are too large for a table in memory:
 *
 *   body || sealed(trailer)
 *
 * The body is encrypted by `OffsetCipher` under a key of its own: ids of blobs are hashes of plaintext, and their lengths tell of it
 * too. The trailer, sealed with the repository's key, has that key and the SHA-256 of the body as it is stored, so that a file which
 * was damaged, or made by someone else, is noticed when it is opened. Sections of the body, each at a multiple of 16 bytes, numbers
 * u32le:
 *
 *   records       48 bytes a blob: `blob-records.ts`. Pack after pack, in the order of the index objects
 *   pack keys     12 a pack, sorted: the first 8 bytes of its id as two numbers, and the pack's number
 *   packs         48 a pack: id (32), first record, how many, number of the index object, 1 if an earlier pack has the same id
 *   indexes       32 an index object: its id
 *   blob keys     12 a record, as those of packs
 *   pack samples, blob samples    8 for every 84 keys: the first of them without its number
 *   filter        `blob-filter.ts`
 */

const magic = utf8('strongroom blobs')
const version = 1

/** Beside its id, where in an entry of a pack something is. */
export const packEntry = { bytes: 48, first: 32, count: 36, index: 40, repeats: 44 } as const
export const indexIdBytes = sha256Length
export const packIdBytes = sha256Length
/** The number of a pack has 31 bits beside the type of a blob. */
export const entriesMax = 0x7fff_ffff

export interface TableCounts {
  readonly records: number
  readonly packs: number
  readonly indexes: number
  /** Records of a blob, and packs, that an earlier one has already. */
  readonly repeatedRecords: number
  readonly repeatedPacks: number
}
export const noCounts: TableCounts = {
  records: 0,
  packs: 0,
  indexes: 0,
  repeatedRecords: 0,
  repeatedPacks: 0,
}
const countNames = ['records', 'packs', 'indexes', 'repeatedRecords', 'repeatedPacks'] as const

export interface SectionPlace {
  /** In the body. */
  readonly offset: number
  readonly bytes: number
}

/** Where each section is, and how long the body. */
export interface TableLayout {
  readonly records: SectionPlace
  readonly packKeys: SectionPlace
  readonly packs: SectionPlace
  readonly indexes: SectionPlace
  readonly blobKeys: SectionPlace
  readonly packSamples: SectionPlace
  readonly blobSamples: SectionPlace
  readonly filter: SectionPlace
  readonly bodyBytes: number
}

export function layoutOf({ records, packs, indexes }: TableCounts): TableLayout {
  let end = 0
  const next = (bytes: number): SectionPlace => {
    const offset = end
    end = Math.ceil((offset + bytes) / offsetAlignment) * offsetAlignment
    return { offset, bytes }
  }
  const sections = {
    records: next(records * recordBytes),
    packKeys: next(packs * keyBytes),
    packs: next(packs * packEntry.bytes),
    indexes: next(indexes * indexIdBytes),
    blobKeys: next(records * keyBytes),
    packSamples: next(samplesBytesFor(packs)),
    blobSamples: next(samplesBytesFor(records)),
    filter: next(filterBytesFor(records)),
  }
  return { ...sections, bodyBytes: end }
}

export interface Trailer {
  readonly counts: TableCounts
  readonly cipher: OffsetCipher
  /** SHA-256 of the body as it is stored. */
  readonly bodyDigest: Digest
}

const countsAt = magic.byteLength + 4
const keyAt = countsAt + 4 * countNames.length
const digestAt = keyAt + offsetKeyLength
const trailerBytes = digestAt + sha256Length
export const sealedTrailerBytes = trailerBytes + sealedOverheadBytes

export function sealTrailer(key: RepositoryKey, trailer: Trailer, entropy: Entropy): Uint8Array {
  const bytes = Buffer.alloc(trailerBytes)
  bytes.set(magic)
  bytes.writeUInt32LE(version, magic.byteLength)
  for (const [at, name] of countNames.entries()) bytes.writeUInt32LE(trailer.counts[name], countsAt + 4 * at)
  trailer.cipher.expose(key => bytes.set(key, keyAt))
  bytes.set(fromHex(trailer.bodyDigest, sha256Length), digestAt)
  try {
    return key.seal(bytes, entropy)
  } finally {
    bytes.fill(0)
  }
}

/** Throws `MAC_WRONG` and `INDEX_TABLE_DAMAGED`. */
export function openTrailer(key: RepositoryKey, untrustedSealed: Uint8Array): Trailer {
  const bytes = view(key.open(untrustedSealed))
  // The seal binds no kind: this may be a small object of the repository.
  if (
    bytes.byteLength !== trailerBytes ||
    bytes.compare(magic, 0, magic.byteLength, 0, magic.byteLength) !== 0 ||
    bytes.readUInt32LE(magic.byteLength) !== version
  )
    throw new RepositoryError('INDEX_TABLE_DAMAGED', 'what is sealed in an index table is something else')
  const [records = 0, packs = 0, indexes = 0, repeatedRecords = 0, repeatedPacks = 0] = countNames.map(
    (_, at) => bytes.readUInt32LE(countsAt + 4 * at),
  )
  const cipher = OffsetCipher.take(bytes.subarray(keyAt, digestAt))
  const bodyDigest = toHex(bytes.subarray(digestAt)) as Digest
  return { counts: { records, packs, indexes, repeatedRecords, repeatedPacks }, cipher, bodyDigest }
}
