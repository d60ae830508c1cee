import { toHex, view } from '../base/bytes.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { CryptoError } from './errors.ts'
import {
  encodeVerityHeader,
  parseVerityHeader,
  type VerityHeader,
  type VerityParameters,
  verityBlockBytes,
  verityDigest,
  verityDigestBytes,
  verityDigestsPerBlock,
  verityLayout,
} from './verity-format.ts'

/* Writing and verifying of dm-verity hash trees, in memory that does not grow with the image. */

/** Something of a known length that can be read anywhere. */
export interface Readable {
  readonly bytes: number
  /** Fills `into` from `position`, or throws. */
  read(into: Uint8Array, position: number): Promise<void>
}

export interface VerityWork {
  /** Told now and then how far it is, in bytes of the image. */
  readonly progress?: (bytesDone: number, bytesTotal: number) => void
  readonly signal: AbortSignal
}

/**
 * Writes the tree of `image` in pieces, in no order and without gaps, and returns the root hash. Throws `VERITY_MALFORMED`, the
 * signal's reason, or what reading and writing throw.
 */
export async function writeVerity(
  image: Readable,
  parameters: VerityParameters,
  write: (bytes: Uint8Array, position: number) => Promise<void>,
  work: VerityWork,
): Promise<Digest> {
  const { dataBlocks, levels } = verityLayout(image.bytes)
  const { salt } = parameters
  await write(encodeVerityHeader({ ...parameters, dataBlocks }), 0)
  const open = levels.map(({ position }) => ({ block: new Uint8Array(verityBlockBytes), used: 0, position }))
  let root: Uint8Array = new Uint8Array(verityDigestBytes)
  const flush = async (at: number): Promise<void> => {
    const level = open[at]
    if (level === undefined || level.used === 0) return
    await write(level.block, level.position)
    const digest = verityDigest(salt, level.block)
    level.position += verityBlockBytes
    level.block.fill(0)
    level.used = 0
    await add(at + 1, digest)
  }
  const add = async (at: number, digest: Uint8Array): Promise<void> => {
    const level = open[at]
    if (level === undefined) {
      root = digest
      return
    }
    level.block.set(digest, level.used * verityDigestBytes)
    level.used += 1
    if (level.used === verityDigestsPerBlock) await flush(at)
  }
  for await (const { blocks } of blocksOf(image, work))
    for (const block of blocks) await add(0, verityDigest(salt, block))
  for (const at of open.keys()) await flush(at)
  return parseDigest(toHex(root))
}

/**
 * Verifies every block of `image` from `rootHash` down, as the kernel would, and that the tree is of this many blocks: what
 * the superblock says of that is not covered by the root hash. Returns the superblock. Throws `VERITY_MISMATCH` naming the
 * first bad block, `VERITY_MALFORMED`, the signal's reason, or what reading throws.
 */
export async function verifyVerity(
  image: Readable,
  tree: Readable,
  rootHash: Digest,
  work: VerityWork,
): Promise<VerityHeader> {
  const { dataBlocks, levels, treeBytes } = verityLayout(image.bytes)
  if (tree.bytes !== treeBytes)
    throw new CryptoError(
      'VERITY_MALFORMED',
      `the hash tree has ${tree.bytes} bytes; that of ${dataBlocks} blocks has ${treeBytes}`,
    )
  const first = new Uint8Array(verityBlockBytes)
  await tree.read(first, 0)
  const header = parseVerityHeader(first)
  if (header.dataBlocks !== dataBlocks)
    throw new CryptoError(
      'VERITY_MALFORMED',
      `the superblock names ${header.dataBlocks} blocks; the image has ${dataBlocks}`,
    )
  const { salt } = header
  const root = Buffer.from(rootHash, 'hex')
  // The one block of each level that is in use has been verified: nothing is read twice and believed the second time.
  const verified = levels.map((level, at) => ({
    ...level,
    below: levels[at - 1]?.blocks ?? dataBlocks,
    block: new Uint8Array(verityBlockBytes),
    index: -1,
  }))
  /** What the digest of block `index` below level `at` must be. */
  const expected = async (at: number, index: number): Promise<Uint8Array> => {
    const level = verified[at]
    if (level === undefined) return root
    const own = Math.floor(index / verityDigestsPerBlock)
    if (level.index !== own) {
      const position = level.position + own * verityBlockBytes
      level.index = -1
      await tree.read(level.block, position)
      requireDigest(salt, level.block, await expected(at + 1, own), 'hash tree', position)
      const used = Math.min(level.below - own * verityDigestsPerBlock, verityDigestsPerBlock)
      requireUnused(level.block.subarray(used * verityDigestBytes), dataBlocks)
      level.index = own
    }
    const offset = (index % verityDigestsPerBlock) * verityDigestBytes
    return level.block.subarray(offset, offset + verityDigestBytes)
  }
  for await (const { index, blocks } of blocksOf(image, work))
    for (const [place, block] of blocks.entries()) {
      const digest = await expected(0, index + place)
      requireDigest(salt, block, digest, 'image', (index + place) * verityBlockBytes)
    }
  return header
}

/** The blocks of an image, as many at once as one block of the tree covers. They are overwritten by the next. */
async function* blocksOf(
  image: Readable,
  { progress, signal }: VerityWork,
): AsyncGenerator<{ readonly index: number; readonly blocks: readonly Uint8Array[] }> {
  const buffer = new Uint8Array(verityDigestsPerBlock * verityBlockBytes)
  for (let position = 0; position < image.bytes; position += buffer.byteLength) {
    signal.throwIfAborted()
    const part = buffer.subarray(0, Math.min(buffer.byteLength, image.bytes - position))
    await image.read(part, position)
    const blocks: Uint8Array[] = []
    for (let at = 0; at < part.byteLength; at += verityBlockBytes)
      blocks.push(part.subarray(at, at + verityBlockBytes))
    yield { index: position / verityBlockBytes, blocks }
    progress?.(position + part.byteLength, image.bytes)
  }
}

function requireDigest(
  salt: Uint8Array,
  untrustedBlock: Uint8Array,
  expected: Uint8Array,
  what: string,
  position: number,
): void {
  if (view(verityDigest(salt, untrustedBlock)).equals(expected)) return
  throw new CryptoError(
    'VERITY_MISMATCH',
    `the ${what} differs from what the root hash says in block ${position / verityBlockBytes}, at byte ${position}`,
  )
}

/** Digests behind the last would be those of blocks that were cut off. */
function requireUnused(rest: Uint8Array, dataBlocks: number): void {
  if (rest.every(byte => byte === 0)) return
  throw new CryptoError('VERITY_MISMATCH', `the root hash is of an image of more than ${dataBlocks} blocks`)
}
