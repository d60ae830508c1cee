import { toHex, view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import { type RepositoryKey, sealedOverheadBytes } from '../crypto/aead.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { RepositoryError } from './errors.ts'
import {
  type BlobType,
  blobBytesMax,
  blobIdLength,
  packBlobsMax,
  packBytesFull,
  type StoredObject,
} from './format.ts'

/*
 * "Pack Format": sealed blobs back to back, then the sealed header, then its length as u32le. A header entry is
 * type (1), sealed length (u32le), plain length (u32le, only when compressed), id (32). Offsets are running sums.
 */

const lengthBytes = 4
/** A blob's byte in the header: 0 data, 1 tree; 2 and 3 the same, compressed. */
const treeMark = 1
const compressedMark = 2
const storedEntryBytes = 1 + lengthBytes + blobIdLength
const compressedEntryBytes = storedEntryBytes + lengthBytes
/** The pack of a tree, or of a quiet day, is small; one that is not costs a quarter more copying than a large buffer at once. */
const bodyBytesAtFirst = 256 * 1024
const bodyGrowth = 4
const bodyBytesSpare = 2 * 1024 * 1024
const bodyBytesFull = packBytesFull + bodyBytesSpare

/** The largest sealed header that is read: beyond any pack of stock restic, which ends at 16 MiB too. */
const headerBytesMax = 16 * 1024 * 1024

export interface PackedBlob {
  readonly type: BlobType
  /** 64 hex digits. */
  readonly id: string
  readonly offset: number
  /** Sealed. */
  readonly length: number
  /** 0: stored as it is. */
  readonly uncompressedLength: number
}

/** Blobs of one type on their way into one object. Restic does not read a pack that mixes the types. */
export class PackBuilder {
  readonly type: BlobType
  readonly #key: RepositoryKey
  readonly #entropy: Entropy
  readonly #header: Uint8Array[] = []
  #body: Uint8Array
  #bytes = 0

  /** `body` is used when it is given, so that buffers can go round. */
  constructor(type: BlobType, key: RepositoryKey, entropy: Entropy, body?: Uint8Array) {
    this.type = type
    this.#key = key
    this.#entropy = entropy
    this.#body = body ?? new Uint8Array(bodyBytesAtFirst)
  }

  get full(): boolean {
    return this.#bytes >= packBytesFull || this.#header.length >= packBlobsMax
  }

  /** Seals a blob, as it is or compressed (`uncompressedLength` > 0), behind those before. */
  add(
    id: Uint8Array,
    payload: Uint8Array,
    uncompressedLength: number,
  ): { readonly offset: number; readonly length: number } {
    const offset = this.#bytes
    const length = payload.byteLength + sealedOverheadBytes
    this.#key.sealInto(this.#take(length), payload, this.#entropy)
    this.#header.push(encodeHeaderEntry(this.type, id, length, uncompressedLength))
    return { offset, length }
  }

  /** A blob that was sealed before, with the same key: its nonce stays with its ciphertext. */
  addSealed(
    id: Uint8Array,
    sealed: Uint8Array,
    uncompressedLength: number,
  ): { readonly offset: number; readonly length: number } {
    const offset = this.#bytes
    const length = sealed.byteLength
    this.#take(length).set(sealed)
    this.#header.push(encodeHeaderEntry(this.type, id, length, uncompressedLength))
    return { offset, length }
  }

  /** Ends the pack. `body` is a view of the builder's buffer. */
  finish(): StoredObject {
    const header = this.#key.seal(Buffer.concat(this.#header), this.#entropy)
    this.#take(header.byteLength).set(header)
    view(this.#take(lengthBytes)).writeUInt32LE(header.byteLength)
    const body = this.#body.subarray(0, this.#bytes)
    return { id: sha256Hex(body), bytes: body.byteLength, body }
  }

  #take(length: number): Uint8Array {
    const end = this.#bytes + length
    if (end > this.#body.byteLength) {
      const wider = new Uint8Array(widerBytes(this.#body.byteLength, end))
      wider.set(this.#body.subarray(0, this.#bytes))
      release(this.#body)
      this.#body = wider
    }
    const part = this.#body.subarray(this.#bytes, end)
    this.#bytes = end
    return part
  }
}

function widerBytes(present: number, wanted: number): number {
  const grown = Math.max(bodyGrowth * present, wanted)
  return grown < bodyBytesFull ? grown : Math.max(bodyBytesFull, wanted + bodyBytesSpare)
}

function encodeHeaderEntry(
  type: BlobType,
  id: Uint8Array,
  length: number,
  uncompressedLength: number,
): Uint8Array {
  const compressed = uncompressedLength > 0
  const entry = Buffer.alloc(compressed ? compressedEntryBytes : storedEntryBytes)
  entry.writeUInt8((type === 'tree' ? treeMark : 0) | (compressed ? compressedMark : 0))
  entry.writeUInt32LE(length, 1)
  if (compressed) entry.writeUInt32LE(uncompressedLength, 1 + lengthBytes)
  entry.set(id, entry.byteLength - blobIdLength)
  return entry
}

/** Of the plaintext, for a blob whose lengths were checked. */
export function plainLengthOf({
  length,
  uncompressedLength,
}: Pick<PackedBlob, 'length' | 'uncompressedLength'>): number {
  return uncompressedLength > 0 ? uncompressedLength : length - sealedOverheadBytes
}

/** Where the sealed header lies in a pack, by what an index says of its blobs. */
export function headerRange(blobs: readonly PackedBlob[]): {
  readonly offset: number
  readonly length: number
} {
  let offset = 0
  let length = sealedOverheadBytes
  for (const blob of blobs) {
    offset = Math.max(offset, blob.offset + blob.length)
    length += blob.uncompressedLength > 0 ? compressedEntryBytes : storedEntryBytes
  }
  return { offset, length }
}

/** What a pack with exactly these blobs has in all. */
export function packBytesOf(blobs: readonly PackedBlob[]): number {
  const { offset, length } = headerRange(blobs)
  return offset + length + lengthBytes
}

/** The blobs of a whole pack. Throws `MAC_WRONG`, `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT`. */
export function readPackHeader(key: RepositoryKey, untrustedPack: Uint8Array): readonly PackedBlob[] {
  const end = untrustedPack.byteLength - lengthBytes
  const length = end < 0 ? 0 : view(untrustedPack).readUInt32LE(end)
  if (length > end || length < sealedOverheadBytes)
    throw new RepositoryError(
      'REPOSITORY_FORMAT',
      `a pack of ${untrustedPack.byteLength} bytes with a header of ${length}`,
    )
  const blobs = openPackHeader(key, untrustedPack.subarray(end - length, end))
  if (headerRange(blobs).offset !== end - length)
    throw new RepositoryError('REPOSITORY_FORMAT', 'a pack has bytes that are in no blob')
  return blobs
}

/** The blobs of a sealed header. */
export function openPackHeader(key: RepositoryKey, untrustedHeader: Uint8Array): readonly PackedBlob[] {
  if (untrustedHeader.byteLength > headerBytesMax)
    throw new RepositoryError(
      'REPOSITORY_LIMIT',
      `a pack header of ${untrustedHeader.byteLength} bytes; at most ${headerBytesMax} are read`,
    )
  const header = view(key.open(untrustedHeader))
  const blobs: PackedBlob[] = []
  let offset = 0
  for (let at = 0; at < header.byteLength; ) {
    const blob = parseHeaderEntry(header.subarray(at), offset)
    blobs.push(blob)
    offset += blob.length
    at += blob.uncompressedLength > 0 ? compressedEntryBytes : storedEntryBytes
  }
  return blobs
}

function parseHeaderEntry(header: Buffer, offset: number): PackedBlob {
  const mark = header[0] ?? 0
  const compressed = (mark & compressedMark) !== 0
  const bytes = compressed ? compressedEntryBytes : storedEntryBytes
  if (mark > (treeMark | compressedMark) || header.byteLength < bytes)
    throw new RepositoryError(
      'REPOSITORY_FORMAT',
      'a pack header has an entry of an unknown type, or half of one',
    )
  const type = (mark & treeMark) !== 0 ? 'tree' : 'data'
  const length = header.readUInt32LE(1)
  const uncompressedLength = compressed ? header.readUInt32LE(1 + lengthBytes) : 0
  checkBlobLengths(type, length, uncompressedLength, compressed)
  return { type, id: toHex(header.subarray(bytes - blobIdLength, bytes)), offset, length, uncompressedLength }
}

/** Bounds what will be allocated for a blob. zstd adds little to what it cannot compress. */
export function checkBlobLengths(
  type: BlobType,
  length: number,
  uncompressedLength: number,
  compressed: boolean,
): void {
  const max = blobBytesMax[type]
  const sealedMax = max + (max >>> 7) + sealedOverheadBytes
  const wrong = compressed ? uncompressedLength === 0 : uncompressedLength !== 0
  if (wrong || length < sealedOverheadBytes)
    throw new RepositoryError('REPOSITORY_FORMAT', `a blob of ${length} bytes for ${uncompressedLength}`)
  if (uncompressedLength > max || length > sealedMax)
    throw new RepositoryError(
      'REPOSITORY_LIMIT',
      `a ${type} blob of ${length} bytes for ${uncompressedLength}; at most ${max} are allowed`,
    )
}
