import { crc32 } from 'node:zlib'
import { KiB } from '../../base/bytes.ts'
import { Fault } from './fault.ts'
import type { Region } from './region.ts'

/*
 * Partition tables: MBR with logical partitions, and GPT (UEFI specification 2.10, chapter 5). Strict: what does not fit, by
 * bounds, overlap or checksum, is `TABLE_BROKEN`, where an operating system might make the best of it.
 */

export interface Partition {
  readonly region: Region
  /** Of a kind that holds a boot loader or nothing by its definition: never a file system. */
  readonly isRaw: boolean
}

interface Extent {
  /** In sectors. */
  readonly first: number
  readonly count: number
  readonly isRaw: boolean
}

const mbrSectorBytes = 512
const gptSectorBytes = [512, 4096] as const
const partitionsMax = 128
const extendedTypes = new Set([0x05, 0x0f, 0x85])
const protectiveType = 0xee

/** `null`: there is no partition table. Throws `Fault`. */
export async function readPartitions(disk: Region): Promise<readonly Partition[] | null> {
  const sector = await disk.read(0, mbrSectorBytes)
  if (sector === null) return null
  for (const sectorBytes of gptSectorBytes) {
    const header = await disk.read(sectorBytes, 92)
    if (header !== null && isGpt(header))
      return regionsOf(disk, await readGpt(disk, sectorBytes), sectorBytes)
  }
  const entries = mbrEntries(sector)
  if (entries === null) return null
  // Its header was destroyed.
  if (entries.some(({ type }) => type === protectiveType)) throw new Fault('TABLE_BROKEN')
  return regionsOf(disk, await withLogical(disk, entries), mbrSectorBytes)
}

interface MbrEntry extends Extent {
  readonly type: number
}

/** `null`: this is no such table, but e.g. nothing, or the code of a boot loader. */
function mbrEntries(sector: Buffer): readonly MbrEntry[] | null {
  if (sector.readUInt16LE(510) !== 0xaa55) return null
  const entries: MbrEntry[] = []
  for (let at = 446; at < 510; at += 16) {
    if ((sector.readUInt8(at) & 0x7f) !== 0) return null
    const type = sector.readUInt8(at + 4)
    const [first, count] = [sector.readUInt32LE(at + 8), sector.readUInt32LE(at + 12)]
    if (type !== 0) entries.push({ type, first, count, isRaw: false })
  }
  return entries.length === 0 ? null : entries
}

/** Each extended boot record has one logical partition, relative to itself, and the next record, relative to the first. */
async function withLogical(disk: Region, primary: readonly MbrEntry[]): Promise<readonly Extent[]> {
  const extended = primary.filter(({ type }) => extendedTypes.has(type))
  const found: Extent[] = primary.filter(({ type }) => !extendedTypes.has(type))
  if (extended.length > 1) throw new Fault('TABLE_BROKEN')
  for (const { first: base, count } of extended) {
    let record = base
    for (let steps = 0; ; steps++) {
      const sector = await disk.read(record * mbrSectorBytes, mbrSectorBytes)
      const entries = sector === null ? null : mbrEntries(sector)
      if (entries === null) {
        // An extended partition may be empty.
        if (steps === 0 && sector !== null) break
        throw new Fault('TABLE_BROKEN')
      }
      const logical = entries.filter(({ type }) => !extendedTypes.has(type))
      const next = entries.filter(({ type }) => extendedTypes.has(type))
      if (logical.length > 1 || next.length > 1 || steps > partitionsMax) throw new Fault('TABLE_BROKEN')
      for (const one of logical) {
        const first = record + one.first
        if (one.first === 0 || first + one.count > base + count) throw new Fault('TABLE_BROKEN')
        found.push({ first, count: one.count, isRaw: false })
      }
      if (next[0] === undefined) break
      const following = base + next[0].first
      // Forward only: no loops.
      if (following <= record || following >= base + count) throw new Fault('TABLE_BROKEN')
      record = following
    }
  }
  return found
}

/** Mixed-endian, as they are on disk. */
const rawKinds = new Set(
  [
    // BIOS boot
    '21686148-6449-6e6f-744e-656564454649',
    // Microsoft reserved
    'e3c9e316-0b5c-4db8-817d-f92df00215ae',
    // PowerPC PReP boot
    '9e1a2d38-c612-4316-aa26-8b49521e5a8b',
  ].map(guidOnDisk),
)
const noKind = '00'.repeat(16)

const headerBytesMin = 92
const entryBytesMin = 128
const entriesBytesMax = 128 * KiB

function isGpt(header: Buffer): boolean {
  return header.toString('latin1', 0, 8) === 'EFI PART'
}

async function readGpt(disk: Region, sectorBytes: number): Promise<readonly Extent[]> {
  const primary = await readGptHeader(disk, sectorBytes, 1)
  const backup = await readGptHeader(disk, sectorBytes, primary.other)
  if (backup.other !== 1 || backup.entriesChecksum !== primary.entriesChecksum)
    throw new Fault('TABLE_BROKEN')
  const extents: Extent[] = []
  for (let at = 0; at < primary.entries.byteLength; at += primary.entryBytes) {
    const kind = primary.entries.toString('hex', at, at + 16)
    if (kind === noKind) continue
    const first = sectorOf(primary.entries, at + 32)
    const last = sectorOf(primary.entries, at + 40)
    if (first < primary.firstUsable || last > primary.lastUsable || last < first)
      throw new Fault('TABLE_BROKEN')
    extents.push({ first, count: last - first + 1, isRaw: rawKinds.has(kind) })
  }
  return extents
}

interface GptHeader {
  readonly other: number
  readonly firstUsable: number
  readonly lastUsable: number
  readonly entries: Buffer
  readonly entryBytes: number
  readonly entriesChecksum: number
}

async function readGptHeader(disk: Region, sectorBytes: number, at: number): Promise<GptHeader> {
  const sector = await disk.read(at * sectorBytes, sectorBytes)
  if (sector === null || !isGpt(sector)) throw new Fault('TABLE_BROKEN')
  const bytes = sector.readUInt32LE(12)
  if (bytes < headerBytesMin || bytes > sectorBytes) throw new Fault('TABLE_BROKEN')
  const header = Buffer.from(sector.subarray(0, bytes))
  const checksum = header.readUInt32LE(16)
  header.writeUInt32LE(0, 16)
  const count = header.readUInt32LE(80)
  const entryBytes = header.readUInt32LE(84)
  const tableBytes = count * entryBytes
  if (crc32(header) !== checksum || sectorOf(header, 24) !== at) throw new Fault('TABLE_BROKEN')
  if (entryBytes < entryBytesMin || entryBytes % 8 !== 0 || count === 0 || tableBytes > entriesBytesMax)
    throw new Fault('TABLE_BROKEN')
  const entries = await disk.read(sectorOf(header, 72) * sectorBytes, tableBytes)
  const entriesChecksum = header.readUInt32LE(88)
  if (entries === null || crc32(entries) !== entriesChecksum) throw new Fault('TABLE_BROKEN')
  const [firstUsable, lastUsable] = [sectorOf(header, 40), sectorOf(header, 48)]
  return { other: sectorOf(header, 32), firstUsable, lastUsable, entries, entryBytes, entriesChecksum }
}

function sectorOf(bytes: Buffer, at: number): number {
  const sector = bytes.readBigUInt64LE(at)
  if (sector > 1n << 43n) throw new Fault('TABLE_BROKEN')
  return Number(sector)
}

function guidOnDisk(text: string): string {
  const [a = '', b = '', c = '', ...rest] = text.split('-')
  const swapped = [a, b, c].map(part => Buffer.from(part, 'hex').reverse().toString('hex'))
  return [...swapped, ...rest].join('')
}

/** Within the disk, behind the table, and apart from each other. */
function regionsOf(disk: Region, extents: readonly Extent[], sectorBytes: number): readonly Partition[] {
  if (extents.length > partitionsMax) throw new Fault('TABLE_BROKEN')
  const sorted = extents.toSorted((one, other) => one.first - other.first)
  let free = 1
  for (const { first, count } of sorted) {
    if (first < free) throw new Fault('TABLE_BROKEN')
    free = first + count
  }
  return sorted.map(({ first, count, isRaw }) => {
    const region = disk.part(first * sectorBytes, count * sectorBytes)
    if (region === null) throw new Fault('TABLE_BROKEN')
    return { region, isRaw }
  })
}
