import { fromHex } from '../base/bytes.ts'
import { DirectFile } from '../base/direct-file.ts'
import { release } from '../base/memory.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { objectBytesMax } from '../storage/object-store.ts'
import { openBlob } from './blob.ts'
import { RepositoryError } from './errors.ts'
import { blobIdLength } from './format.ts'
import { type PackedBlob, plainLengthOf, readPackHeader } from './pack.ts'

/*
 * What costs a restore and a check their time, as plain functions over bytes in memory: MAC, decryption, zstd and SHA-256
 * of many blobs at once. They run on whatever thread there is.
 */

/**
 * `open`: bytes of a pack that hold these blobs. `write`: the same, and where in which file each of them is written.
 * `check`: a whole pack, and the blobs that an index says it has.
 */
export type PackWork =
  | (PackBytes & { readonly kind: 'open' })
  | (PackBytes & { readonly kind: 'check' })
  | (PackBytes & {
      readonly kind: 'write'
      readonly path: string
      readonly targets: readonly (readonly number[])[]
    })

interface PackBytes {
  /** Of the pack. */
  readonly id: string
  /** Where in the pack `untrustedBytes` begins. */
  readonly offset: number
  readonly untrustedBytes: Uint8Array
  readonly blobs: readonly PackedBlob[]
}

/** The plaintexts one behind the other, in the order of `blobs`, if they were to be opened. Throws what it finds wrong. */
export function doPackWork(key: RepositoryKey, work: PackWork): Uint8Array {
  if (work.kind === 'open') return openBlobs(key, work)
  if (work.kind === 'check') checkPack(key, work)
  else writeBlobs(key, work)
  return new Uint8Array(0)
}

function openBlobs(key: RepositoryKey, { offset, untrustedBytes, blobs }: PackBytes): Uint8Array {
  const plaintexts = Buffer.allocUnsafeSlow(blobs.reduce((sum, blob) => sum + plainLengthOf(blob), 0))
  let at = 0
  for (const blob of blobs) {
    const plaintext = open(key, blob, offset, untrustedBytes)
    plaintexts.set(plaintext, at)
    at += plaintext.byteLength
    release(plaintext)
  }
  return plaintexts
}

function writeBlobs(
  key: RepositoryKey,
  { offset, untrustedBytes, blobs, path, targets }: Extract<PackWork, { kind: 'write' }>,
): void {
  using file = new DirectFile(path)
  for (const [index, blob] of blobs.entries()) {
    const plaintext = open(key, blob, offset, untrustedBytes)
    for (const target of targets[index] ?? []) file.write(plaintext, target)
    release(plaintext)
  }
  file.flush()
}

/** Its hash, its header, and every blob in it. */
function checkPack(key: RepositoryKey, { id, offset, untrustedBytes, blobs }: PackBytes): void {
  if (untrustedBytes.byteLength > objectBytesMax || sha256Hex(untrustedBytes) !== id)
    throw new RepositoryError(
      'OBJECT_WRONG',
      `data/${id.slice(0, 16)}… is served with ${untrustedBytes.byteLength} other bytes`,
    )
  compareBlobs(blobs, readPackHeader(key, untrustedBytes))
  for (const blob of blobs) release(open(key, blob, offset, untrustedBytes))
}

function open(
  key: RepositoryKey,
  { type, id, offset, length, uncompressedLength }: PackedBlob,
  start: number,
  untrustedBytes: Uint8Array,
): Uint8Array {
  const untrustedSealed = untrustedBytes.subarray(offset - start, offset - start + length)
  return openBlob(key, type, fromHex(id, blobIdLength), uncompressedLength, untrustedSealed)
}

/** An index may name the blobs of a pack in any order; the header has them as they lie. */
export function compareBlobs(indexed: readonly PackedBlob[], inHeader: readonly PackedBlob[]): void {
  const sorted = indexed.toSorted((a, b) => a.offset - b.offset)
  const differs = (blob: PackedBlob, index: number) => {
    const other = inHeader[index]
    return (
      other === undefined ||
      blob.id !== other.id ||
      blob.type !== other.type ||
      blob.offset !== other.offset ||
      blob.length !== other.length ||
      blob.uncompressedLength !== other.uncompressedLength
    )
  }
  if (sorted.length !== inHeader.length || sorted.some(differs))
    throw new RepositoryError(
      'PACK_DIFFERS',
      `a pack whose header names ${inHeader.length} blobs, and whose index names ${sorted.length}, not all the same`,
    )
}
