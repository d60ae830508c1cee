import { KiB, MiB } from '../../src/base/bytes.ts'
import type { LevelResult } from '../../src/base/drill-levels.ts'
import {
  type Bases,
  blockOf,
  btrfsHead,
  btrfsTree,
  entryOf,
  extGroup,
  extInode,
  extSuper,
  inodeAt,
  inodeOf,
  type Maker,
  noise,
  scatter,
  xfsHead,
} from './hostile-images.ts'

export const passed: readonly LevelResult[] = ['passed']

export interface Hostile {
  readonly base: keyof Bases
  readonly make: Maker
  readonly expected?: readonly LevelResult[]
  /** The image ends here. */
  readonly bytes?: number
  /** Looked at by debugfs, too. */
  readonly path?: string
}

const all =
  (...makers: readonly Maker[]): Maker =>
  image => {
    for (const make of makers) make(image)
  }
/** Superblock and group descriptors of the copy in the first group: there is no other group. */
const ext = (make: Maker, more: Partial<Hostile> = {}): Hostile => ({ base: 'ext', make, ...more })
const xfs = (make: Maker, more: Partial<Hostile> = {}): Hostile => ({ base: 'xfs', make, ...more })
const btrfs = (make: Maker, more: Partial<Hostile> = {}): Hostile => ({ base: 'btrfs', make, ...more })

const onInode =
  (name: string, change: (inode: Buffer, image: Buffer, number: number) => void): Maker =>
  image => {
    const number = inodeOf(image, name)
    change(image.subarray(inodeAt(image, number)), image, number)
  }
const onBlock =
  (name: string, change: (block: Buffer, image: Buffer) => void): Maker =>
  image => {
    const at = blockOf(image, inodeOf(image, name))
    change(image.subarray(at, at + KiB), image)
  }
const journal = 8
const recovering = extSuper.u32(0x60, 0x46)

export const hostileTable: Readonly<Record<string, Hostile>> = {
  'ext: noise in the superblock': ext(all(noise(1, 1024, 1080), noise(2, 1082, 2048))),
  'ext: 2^32 blocks': ext(extSuper.u32(0x4, 0xffffffff)),
  'ext: 2^64 bytes': ext(all(extSuper.u32(0x60, 0xc2), extSuper.u32(0x150, 0xffffffff))),
  'ext: blocks of 2^41 bytes': ext(extSuper.u32(0x18, 31)),
  'ext: blocks of 64 KiB': ext(extSuper.u32(0x18, 6)),
  'ext: groups of no blocks': ext(extSuper.u32(0x20, 0)),
  'ext: groups of no inodes': ext(extSuper.u32(0x28, 0)),
  'ext: 2^32 inodes in a group': ext(extSuper.u32(0x28, 0xfffffff8)),
  'ext: inodes of no bytes': ext(extSuper.u16(0x58, 0)),
  'ext: inodes of 65535 bytes': ext(extSuper.u16(0x58, 65535)),
  'ext: begins at block 2^31': ext(extSuper.u32(0x14, 0x80000000)),
  'ext: more is free than there is': ext(extSuper.u32(0xc, 0xfffffff0)),
  'ext: nothing is in use': ext(image => extSuper.u32(0xc, image.readUInt32LE(1028))(image)),
  'ext: features that nobody has': ext(extSuper.u32(0x60, 0xffffffff)),
  'ext: a journal device': ext(extSuper.u32(0x60, 0x8)),
  'ext: many mounts': ext(all(extSuper.u32(0x60, 0x142), extSuper.u32(0x16c, 0xfffffff0))),
  'ext: a list of orphans that loops': ext(
    all(extSuper.u32(0xe8, 20), extInode(20, 0x14, 21), extInode(21, 0x14, 20)),
    { path: '/dir/file' },
  ),
  'ext: descriptors of noise': ext(noise(3, 2048, 3072), { path: '/dir/file' }),
  'ext: a bitmap in the superblock': ext(extGroup(0, 1)),
  'ext: a table of inodes beyond the end': ext(extGroup(8, 0x7fffffff), { path: '/dir/file' }),
  'ext: a table of inodes of noise': ext(
    image => noise(4, inodeAt(image, 1), inodeAt(image, 1) + 64 * KiB)(image),
    {
      path: '/dir/file',
    },
  ),
  'ext: no root': ext(image => image.fill(0, inodeAt(image, 2), inodeAt(image, 3)), { path: '/dir/file' }),
  'ext: a device for a root': ext(extInode(2, 0, 0x61ff)),
  'ext: a directory in itself': ext(
    image => void image.writeUInt32LE(inodeOf(image, 'dir'), entryOf(image, 'deep')),
    { path: '/dir/sub/deep/sub/deep/sub/deep/sub/deep/sub/file' },
  ),
  'ext: the root below the root': ext(image => void image.writeUInt32LE(2, entryOf(image, 'deep')), {
    path: '/dir/sub/deep/dir/sub/deep/dir/file2',
  }),
  'ext: entries of no length': ext(
    onBlock('dir', block => void block.writeUInt16LE(0, 4)),
    { path: '/dir/file' },
  ),
  'ext: entries of odd length': ext(
    onBlock('dir', block => void block.writeUInt16LE(3, 12 + 4)),
    { path: '/dir/file' },
  ),
  'ext: an entry that is longer than its block': ext(
    onBlock('dir', block => void block.writeUInt16LE(0xfffc, 4)),
    { path: '/dir/file' },
  ),
  'ext: names of noise': ext(
    onBlock('dir', block => noise(5, 24, KiB)(block)),
    { path: '/dir/file' },
  ),
  'ext: an index of directories of noise': ext(
    onBlock('many', block => noise(6, 24, 64)(block)),
    { path: '/many/7' },
  ),
  'ext: extents 65535 deep': ext(
    onInode('file', inode => void inode.writeUInt16LE(65535, 0x28 + 6)),
    {
      path: '/dir/file',
    },
  ),
  'ext: 65535 extents in an inode': ext(
    onInode('file', inode => void inode.writeUInt16LE(65535, 0x28 + 2)),
    {
      path: '/dir/file',
    },
  ),
  'ext: an extent of 2^48': ext(
    onInode('file', inode => {
      inode.writeUInt16LE(32768, 0x28 + 12 + 4)
      inode.writeUInt16LE(0xffff, 0x28 + 12 + 6)
    }),
    { path: '/dir/file' },
  ),
  'ext: extents in a block that is itself': ext(
    onInode('file', (inode, image, number) => {
      const block = blockOf(image, number)
      inode.writeUInt16LE(3, 0x28 + 6)
      inode.writeUInt32LE(block / KiB, 0x28 + 12 + 4)
      inode.writeUInt16LE(0, 0x28 + 12 + 8)
      image.writeUInt32LE(0x0001f30a, block)
      image.writeUInt32LE(0x00030054, block + 4)
      image.writeUInt32LE(0, block + 12)
      image.writeUInt32LE(block / KiB, block + 16)
      image.writeUInt32LE(0, block + 20)
    }),
    { path: '/dir/file' },
  ),
  'ext: a file of an exabyte': ext(
    onInode('file', inode => void inode.writeUInt32LE(0x0fffffff, 0x6c)),
    {
      path: '/dir/file',
    },
  ),
  'ext: a sparse file of 4 TiB': ext(
    onInode('sparse', inode => {
      inode.writeUInt32LE(0x3ff, 0x6c)
    }),
    { path: '/sparse', expected: passed },
  ),
  'ext: attributes in a block of noise': ext(
    onInode('file', (inode, image) => {
      inode.writeUInt32LE(3000, 0x68)
      noise(7, 3000 * KiB, 3001 * KiB)(image)
      image.writeUInt32LE(0xea020000, 3000 * KiB)
    }),
  ),
  'ext: data in an inode that has none': ext(
    all(
      extSuper.u32(0x60, 0x8042),
      onInode('file', inode => {
        inode.writeUInt32LE(0x10000000, 0x20)
        noise(8, 0x28, 0x64)(inode)
      }),
    ),
    { path: '/dir/file' },
  ),
  'ext: a journal that is no journal': ext(image =>
    noise(9, blockOf(image, journal), blockOf(image, journal) + KiB)(image),
  ),
  'ext: a journal to replay, of noise': ext(
    all(recovering, image => noise(10, blockOf(image, journal), blockOf(image, journal) + 200 * KiB)(image)),
  ),
  'ext: a journal to replay, of descriptors without an end': ext(
    all(recovering, image => {
      const at = blockOf(image, journal)
      image.writeUInt32BE(1, at + 0x18)
      image.writeUInt32BE(1, at + 0x1c)
      for (let block = 1; block < 900; block++) {
        image.writeUInt32BE(0xc03b3998, at + block * KiB)
        image.writeUInt32BE(1, at + block * KiB + 4)
        image.writeUInt32BE(1, at + block * KiB + 8)
        for (let tag = 12; tag + 8 <= KiB; tag += 8) {
          image.writeUInt32BE(0x7fffffff, at + block * KiB + tag)
          image.writeUInt32BE(2, at + block * KiB + tag + 4)
        }
      }
    }),
    // Without the end of a transaction there is nothing to replay.
    { expected: passed },
  ),
  'ext: a journal of 2^32 blocks': ext(
    all(recovering, image => void image.writeUInt32BE(0xffffffff, blockOf(image, journal) + 0x10)),
  ),
  'ext: the second half is missing': ext(() => {}, { bytes: 2 * MiB }),
  'ext: the table of inodes is missing': ext(() => {}, { bytes: 3 * KiB }),
  'ext: changed here and there, 1': ext(scatter(11, 30, KiB, 200 * KiB), { path: '/dir/file' }),
  'ext: changed here and there, 2': ext(scatter(12, 300, 3 * KiB, 300 * KiB), { path: '/dir/file' }),
  'ext: changed everywhere': ext(scatter(13, 20_000, 3 * KiB, 4 * MiB), { path: '/dir/file' }),
  'xfs: blocks of no bytes': xfs(xfsHead(4, 0)),
  'xfs: blocks of 2 GiB': xfs(xfsHead(4, 0x80000000)),
  'xfs: 2^32 groups': xfs(xfsHead(88, 0xffffffff)),
  'xfs: groups of no blocks': xfs(xfsHead(84, 0)),
  'xfs: no root': xfs(all(xfsHead(56, 0xffffffff), xfsHead(60, 0xffffffff))),
  'xfs: inodes of noise': xfs(noise(14, 100, 128)),
  'xfs: a log as large as all': xfs(xfsHead(96, 0xffffffff)),
  'xfs: free space of noise': xfs(noise(15, 512, 1024)),
  'xfs: lists of inodes of noise': xfs(noise(16, 1024, 1536)),
  'xfs: the first group of noise': xfs(noise(17, 512, 64 * KiB)),
  'xfs: changed here and there': xfs(scatter(18, 200, 208, 64 * KiB)),
  'xfs: the second half is missing': xfs(() => {}, { bytes: 40 * MiB }),
  'btrfs: nodes of no bytes': btrfs(btrfsHead(block => void block.writeUInt32LE(0, 0x94))),
  'btrfs: nodes of 2 GiB': btrfs(btrfsHead(block => void block.writeUInt32LE(0x80000000, 0x94))),
  'btrfs: chunks longer than the superblock': btrfs(
    btrfsHead(block => void block.writeUInt32LE(0xffffffff, 0xa0)),
  ),
  'btrfs: chunks of noise': btrfs(btrfsHead(block => noise(19, 0x32b, 0x3a0)(block))),
  'btrfs: a tree 255 high': btrfs(btrfsHead(block => void block.writeUInt8(255, 0xc6))),
  'btrfs: 2^40 devices': btrfs(btrfsHead(block => void block.writeBigUInt64LE(1n << 40n, 0x88))),
  'btrfs: 2^63 bytes': btrfs(btrfsHead(block => void block.writeBigUInt64LE(1n << 63n, 0x70))),
  'btrfs: a root beyond the end': btrfs(btrfsHead(block => void block.writeBigUInt64LE(1n << 60n, 0x50))),
  'btrfs: 2^32 items in a node': btrfs(btrfsTree(1, block => void block.writeUInt32LE(0xffffffff, 96))),
  'btrfs: a leaf that is a node': btrfs(btrfsTree(2, block => void block.writeUInt8(1, 100))),
  'btrfs: items of noise': btrfs(btrfsTree(5, block => noise(20, 101, 600)(block))),
  'btrfs: items outside of their leaf': btrfs(
    btrfsTree(5, block => void block.writeUInt32LE(0xfffffff0, 101 + 17)),
  ),
  'btrfs: changed here and there': btrfs(btrfsTree(5, block => scatter(21, 20, 104, 4096)(block))),
  'btrfs: the second half is missing': btrfs(() => {}, { bytes: 10 * MiB }),
}
