import type { CheckedKind } from './contents.ts'
import type { Region } from './region.ts'

/*
 * What a file system says of its size in its first superblock. Layouts: ext4 disk layout (kernel documentation), xfs_format.h,
 * btrfs-tree.h.
 */

export interface Sizes {
  /** Exact: a hostile superblock says up to 2^64 times 2^32. */
  readonly total: bigint
  readonly used: bigint
  /** It was mounted when the snapshot was made, and has a journal that was not replayed. */
  readonly isPending: boolean
}

/** `null`: the superblock cannot be that of such a file system, or says nothing of sizes (FAT). */
export async function sizesOf(kind: CheckedKind, region: Region): Promise<Sizes | null> {
  switch (kind) {
    case 'ext':
      return extSizes(await region.read(1024, 1024))
    case 'xfs':
      return xfsSizes(await region.read(0, 264))
    case 'btrfs':
      return btrfsSizes(await region.read(0x10000, 0x1000))
    case 'fat':
      return null
  }
}

/** As its own checker then has to find out in detail: nothing outside, and neither nothing nor more than all in use. */
export function isPlausible({ total, used }: Sizes, region: Region): boolean {
  return total > 0n && total <= BigInt(region.bytes) && used > 0n && used <= total
}

function extSizes(block: Buffer | null): Sizes | null {
  if (block === null) return null
  const blockShift = block.readUInt32LE(0x18)
  if (blockShift > 6) return null
  const incompatible = block.readUInt32LE(0x60)
  const has64Bits = (incompatible & 0x80) !== 0
  const wide = (low: number, high: number) =>
    BigInt(block.readUInt32LE(low)) | (has64Bits ? BigInt(block.readUInt32LE(high)) << 32n : 0n)
  const blockBytes = 1024n << BigInt(blockShift)
  const [blocks, free] = [wide(0x4, 0x150), wide(0xc, 0x158)]
  return {
    total: blocks * blockBytes,
    used: (blocks - free) * blockBytes,
    isPending: (incompatible & 0x4) !== 0,
  }
}

function xfsSizes(block: Buffer | null): Sizes | null {
  if (block === null) return null
  const blockBytes = BigInt(block.readUInt32BE(4))
  const [blocks, free] = [block.readBigUInt64BE(8), block.readBigUInt64BE(144)]
  // That its log is not empty only its checker can tell.
  return { total: blocks * blockBytes, used: (blocks - free) * blockBytes, isPending: false }
}

function btrfsSizes(block: Buffer | null): Sizes | null {
  if (block === null) return null
  // Of several devices this one has only a part, and the others are other volumes.
  const devices = block.readBigUInt64LE(0x88)
  if (devices !== 1n) return null
  return { total: block.readBigUInt64LE(0x70), used: block.readBigUInt64LE(0x78), isPending: false }
}
