import { createHash } from 'node:crypto'
import { view } from '../base/bytes.ts'
import { CryptoError } from './errors.ts'

/*
 * dm-verity's hash tree, as `veritysetup format` writes it and Linux reads it (Documentation/admin-guide/
 * device-mapper/verity.rst): superblock version 1, hash type 1, SHA-256, blocks of 4096 bytes. The tree is a superblock in a
 * block of its own, then the levels from the top to the one that holds the digests of the data. A digest is SHA-256 of the
 * salt and a block; 128 of them fill a block, the last of a level is filled up with zeros. The root hash is the digest of
 * the one block at the top, or of the data itself if that is a single block.
 */

export const verityBlockBytes = 4096
export const verityDigestBytes = 32
export const verityDigestsPerBlock = verityBlockBytes / verityDigestBytes
export const verityUuidBytes = 16

const magic = Buffer.from('verity\0\0', 'latin1')
const algorithm = Buffer.from('sha256', 'latin1')
const saltBytesMax = 256
const at = {
  version: 8,
  hashType: 12,
  uuid: 16,
  algorithm: 32,
  dataBlockBytes: 64,
  hashBlockBytes: 68,
  dataBlocks: 72,
  saltBytes: 80,
  salt: 88,
} as const

export interface VerityParameters {
  /** At most 256 bytes. */
  readonly salt: Uint8Array
  /** 16 bytes. The kernel does not look at it. */
  readonly uuid: Uint8Array
}

export interface VerityHeader extends VerityParameters {
  readonly dataBlocks: number
}

export interface VerityLevel {
  readonly blocks: number
  /** Of its first block in the tree, in bytes. */
  readonly position: number
}

export interface VerityLayout {
  readonly dataBlocks: number
  /** From the digests of the data upwards; none for a single block of data. */
  readonly levels: readonly VerityLevel[]
  /** Of the whole tree, with its superblock. */
  readonly treeBytes: number
}

/** Throws `VERITY_MALFORMED` for an image that does not consist of one or more whole blocks. */
export function verityLayout(imageBytes: number): VerityLayout {
  const dataBlocks = imageBytes / verityBlockBytes
  if (!Number.isSafeInteger(dataBlocks) || dataBlocks < 1)
    throw new CryptoError(
      'VERITY_MALFORMED',
      `the image has ${imageBytes} bytes; expected one or more blocks of ${verityBlockBytes}`,
    )
  const counts: number[] = []
  for (let below = dataBlocks; below > 1; ) {
    below = Math.ceil(below / verityDigestsPerBlock)
    counts.push(below)
  }
  let position = verityBlockBytes
  const levels = counts.toReversed().map(blocks => {
    const level = { blocks, position }
    position += blocks * verityBlockBytes
    return level
  })
  return { dataBlocks, levels: levels.reverse(), treeBytes: position }
}

/** The first block of a tree. Throws `VERITY_MALFORMED` for parameters of other lengths. */
export function encodeVerityHeader({ salt, uuid, dataBlocks }: VerityHeader): Uint8Array {
  if (salt.byteLength > saltBytesMax || uuid.byteLength !== verityUuidBytes)
    throw new CryptoError(
      'VERITY_MALFORMED',
      `a salt of ${salt.byteLength} and a UUID of ${uuid.byteLength} bytes; expected at most ${saltBytesMax} and ${verityUuidBytes}`,
    )
  const block = Buffer.alloc(verityBlockBytes)
  block.set(magic)
  block.writeUInt32LE(1, at.version)
  block.writeUInt32LE(1, at.hashType)
  block.set(uuid, at.uuid)
  block.set(algorithm, at.algorithm)
  block.writeUInt32LE(verityBlockBytes, at.dataBlockBytes)
  block.writeUInt32LE(verityBlockBytes, at.hashBlockBytes)
  block.writeBigUInt64LE(BigInt(dataBlocks), at.dataBlocks)
  block.writeUInt16LE(salt.byteLength, at.saltBytes)
  block.set(salt, at.salt)
  return new Uint8Array(block)
}

/** Only what `encodeVerityHeader` writes is accepted, byte for byte. Throws `VERITY_MALFORMED`. */
export function parseVerityHeader(untrustedBlock: Uint8Array): VerityHeader {
  const block = view(untrustedBlock)
  if (block.byteLength !== verityBlockBytes || !block.subarray(0, magic.byteLength).equals(magic))
    throw new CryptoError('VERITY_MALFORMED', 'the hash tree does not begin with a superblock')
  const saltBytes = Math.min(block.readUInt16LE(at.saltBytes), saltBytesMax)
  const header = {
    salt: new Uint8Array(block.subarray(at.salt, at.salt + saltBytes)),
    uuid: new Uint8Array(block.subarray(at.uuid, at.uuid + verityUuidBytes)),
    dataBlocks: Number(block.readBigUInt64LE(at.dataBlocks)),
  }
  if (!Number.isSafeInteger(header.dataBlocks) || !block.equals(encodeVerityHeader(header)))
    throw new CryptoError(
      'VERITY_MALFORMED',
      `the superblock is not of version 1 with SHA-256 and blocks of ${verityBlockBytes} bytes`,
    )
  return header
}

/** The digest of one block; of its bytes after the salt. */
export function verityDigest(salt: Uint8Array, block: Uint8Array): Uint8Array {
  return createHash('sha256').update(salt).update(block).digest()
}
