import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { KiB, MiB } from '../../src/base/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { run } from './support.ts'

/*
 * Images that nobody meant well with: file systems as their own programs make them, changed in one place or in many. Checksums of
 * metadata are left off (ext, XFS) or made anew (btrfs), so that a change is read and not just noticed. The same every time.
 */

export type Maker = (image: Buffer) => void

/** A file system to change. ext has 1 KiB blocks, one group and something of everything in it. */
export interface Bases {
  readonly ext: Buffer
  readonly xfs: Buffer
  readonly btrfs: Buffer
}

export function makeBases(): Bases {
  const directory = scratch('bases')
  const source = path.join(directory, 'source')
  mkdirSync(path.join(source, 'dir', 'sub', 'deep'), { recursive: true })
  mkdirSync(path.join(source, 'many'))
  writeFileSync(path.join(source, 'dir', 'file'), Buffer.alloc(100 * KiB, 'content'))
  for (let count = 0; count < 200; count++)
    writeFileSync(path.join(source, 'many', `${count}-${'x'.repeat(40)}`), '')
  writeFileSync(path.join(source, 'sparse'), '')
  truncateSync(path.join(source, 'sparse'), 5 * MiB)
  const images = {
    ext: path.join(directory, 'ext'),
    xfs: path.join(directory, 'xfs'),
    btrfs: path.join(directory, 'btrfs'),
  }
  for (const [kind, file] of Object.entries(images)) {
    writeFileSync(file, '')
    truncateSync(file, kind === 'ext' ? 4 * MiB : kind === 'xfs' ? 64 * MiB : 20 * MiB)
  }
  const features = 'has_journal,dir_index,^metadata_csum,^64bit,^flex_bg'
  const shape = ['-b', '1024', '-J', 'size=1', '-N', '512', '-d', source]
  run('mkfs.ext4', '-q', '-F', '-O', features, ...shape, images.ext)
  // Its own tests may have one of less than 300 MiB, by these words.
  const small = ['TEST_DIR=1', 'TEST_DEV=1', 'QA_CHECK_FS=1']
  run('env', ...small, 'mkfs.xfs', '-q', '-f', '-m', 'crc=0', '-d', 'agcount=2', images.xfs)
  run('mkfs.btrfs', '-q', '-f', '-M', '-m', 'single', '-d', 'single', '-r', source, images.btrfs)
  return { ext: readFileSync(images.ext), xfs: readFileSync(images.xfs), btrfs: readFileSync(images.btrfs) }
}

/** mulberry32: the same numbers for the same seed. */
export function numbersFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return below => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** Changes `count` places of a range: single bits, whole words, words of all ones, zeros. */
export function scatter(seed: number, count: number, from: number, to: number): Maker {
  return image => {
    const number = numbersFrom(seed)
    for (let done = 0; done < count; done++) {
      const at = from + number((to - from) >> 2) * 4
      const word = image.readUInt32LE(at)
      const changes = [word ^ (1 << number(32)), number(0xffffffff), 0xffffffff, 0, word + 1, 0x7fffffff]
      image.writeUInt32LE((changes[number(changes.length)] ?? 0) >>> 0, at)
    }
  }
}

export const noise =
  (seed: number, from: number, to: number): Maker =>
  image => {
    const number = numbersFrom(seed)
    for (let at = from; at < to; at++) image.writeUInt8(number(256), at)
  }

/* ext: offsets of the kernel's "ext4 disk layout". */

const superblock = 1024
const descriptor = 2048

export const extSuper = {
  u16:
    (at: number, value: number): Maker =>
    image =>
      void image.writeUInt16LE(value, superblock + at),
  u32:
    (at: number, value: number): Maker =>
    image =>
      void image.writeUInt32LE(value, superblock + at),
}

export const extGroup =
  (at: number, value: number): Maker =>
  image =>
    void image.writeUInt32LE(value, descriptor + at)

export function inodeAt(image: Buffer, number: number): number {
  const bytes = image.readUInt16LE(superblock + 0x58)
  return image.readUInt32LE(descriptor + 8) * 1024 + (number - 1) * bytes
}

export const extInode =
  (number: number, at: number, value: number): Maker =>
  image =>
    void image.writeUInt32LE(value >>> 0, inodeAt(image, number) + at)

/** The inode of the entry of that name. */
export function inodeOf(image: Buffer, name: string): number {
  return image.readUInt32LE(entryOf(image, name))
}

/** Of a directory: inode, length of the entry, length of the name, type, name. */
export function entryOf(image: Buffer, name: string): number {
  const text = Buffer.from(name, 'latin1')
  for (let at = image.indexOf(text); at >= 0; at = image.indexOf(text, at + 1))
    if (at % 4 === 0 && image.readUInt8(at - 2) === text.byteLength && image.readUInt32LE(at - 8) <= 512)
      return at - 8
  throw new Error(`no entry ${name}`)
}

/** The first block of an inode that has extents. */
export function blockOf(image: Buffer, number: number): number {
  return image.readUInt32LE(inodeAt(image, number) + 0x28 + 12 + 8) * 1024
}

/* btrfs: its blocks have a checksum over all behind it. */

const btrfsSuper = 0x10000
const btrfsSuperBytes = 4096

const crcTable = Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1
  return value >>> 0
})

function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff
  for (const byte of bytes) value = (value >>> 8) ^ (crcTable[(value ^ byte) & 0xff] ?? 0)
  return ~value >>> 0
}

function seal(image: Buffer, at: number, bytes: number): void {
  image.writeUInt32LE(crc32c(image.subarray(at + 32, at + bytes)), at)
}

/** The superblock: of the smallest file systems there is but one. */
export const btrfsHead =
  (change: (block: Buffer) => void): Maker =>
  image => {
    change(image.subarray(btrfsSuper, btrfsSuper + btrfsSuperBytes))
    seal(image, btrfsSuper, btrfsSuperBytes)
  }

/** Every block of a tree, by the number of its owner. */
export const btrfsTree =
  (owner: number, change: (block: Buffer) => void): Maker =>
  image => {
    const id = Buffer.from(image.subarray(btrfsSuper + 32, btrfsSuper + 48))
    const bytes = image.readUInt32LE(btrfsSuper + 0x94)
    for (let at = image.indexOf(id, MiB); at >= 0; at = image.indexOf(id, at + 1)) {
      const start = at - 32
      if (start % 4096 !== 0 || image.readBigUInt64LE(start + 88) !== BigInt(owner)) continue
      change(image.subarray(start, start + bytes))
      seal(image, start, bytes)
    }
  }

/** Both superblocks of two allocation groups, and what else begins one. Big-endian. */
export const xfsHead =
  (at: number, value: number, group = 0): Maker =>
  image =>
    void image.writeUInt32BE(value, groupAt(image, group) + at)

function groupAt(image: Buffer, group: number): number {
  return group * image.readUInt32BE(84) * image.readUInt32BE(4)
}

/** A tree of directories, one in the other. */
export function makeDeep(file: string, depth: number): void {
  const base = path.join(scratch('deep'), 'image')
  writeFileSync(base, '')
  truncateSync(base, Math.max(8 * MiB, depth * 1700))
  run(
    'mkfs.ext4',
    '-q',
    '-F',
    '-b',
    '1024',
    '-O',
    '^metadata_csum,^has_journal',
    '-N',
    String(depth + 500),
    base,
  )
  const commands = `${base}.commands`
  writeFileSync(commands, 'mkdir d\ncd d\n'.repeat(depth))
  // It repeats every command.
  run('/bin/sh', '-c', 'exec debugfs -w -f "$0" "$1" > /dev/null', commands, base)
  copyFileSync(base, file)
}
