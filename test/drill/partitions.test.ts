import { closeSync, openSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { beforeAll, describe, expect, it } from 'vitest'
import { contentsOf } from '../../src/drill/inside/contents.ts'
import { Fault } from '../../src/drill/inside/fault.ts'
import { Region } from '../../src/drill/inside/region.ts'
import { Volumes } from './support.ts'

const sectors = 200
const volumes = new Volumes()
let file: string

beforeAll(() => {
  file = volumes.add('disk', sectors * 512)
})

interface Part {
  readonly first: number
  readonly last: number
  readonly kind?: string
}
interface Gpt {
  readonly parts?: readonly Part[]
  /** Changes the header before its checksum is made. */
  readonly change?: (header: Buffer, which: 'primary' | 'backup') => void
  /** Changes the whole disk at the end. */
  readonly spoil?: (disk: Buffer) => void
}

/** A disk with a whole GPT, by the specification. */
function gpt({ parts = [{ first: 40, last: 59 }], change, spoil }: Gpt = {}): Buffer {
  const disk = Buffer.alloc(sectors * 512)
  mbr(disk, 0, [{ type: 0xee, first: 1, count: sectors - 1 }])
  const entries = Buffer.alloc(128 * 128)
  for (const [index, { first, last, kind = 'a'.repeat(32) }] of parts.entries()) {
    entries.write(kind, index * 128, 'hex')
    entries.writeBigUInt64LE(BigInt(first), index * 128 + 32)
    entries.writeBigUInt64LE(BigInt(last), index * 128 + 40)
  }
  for (const which of ['primary', 'backup'] as const) {
    const [own, other, table] = which === 'primary' ? [1, sectors - 1, 2] : [sectors - 1, 1, sectors - 33]
    const header = Buffer.alloc(92)
    header.write('EFI PART\0\0\x01\0', 'latin1')
    header.writeUInt32LE(92, 12)
    for (const [at, value] of [
      [24, own],
      [32, other],
      [40, 34],
      [48, sectors - 34],
      [72, table],
    ] as const)
      header.writeBigUInt64LE(BigInt(value), at)
    header.writeUInt32LE(128, 80)
    header.writeUInt32LE(128, 84)
    header.writeUInt32LE(crc32(entries), 88)
    change?.(header, which)
    header.writeUInt32LE(0, 16)
    header.writeUInt32LE(crc32(header), 16)
    header.copy(disk, own * 512)
    entries.copy(disk, table * 512)
  }
  spoil?.(disk)
  return disk
}

interface Entry {
  readonly type: number
  readonly first: number
  readonly count: number
}

function mbr(disk: Buffer, sector: number, entries: readonly Entry[]): Buffer {
  const at = sector * 512
  for (const [index, { type, first, count }] of entries.entries()) {
    disk.writeUInt8(type, at + 446 + index * 16 + 4)
    disk.writeUInt32LE(first, at + 446 + index * 16 + 8)
    disk.writeUInt32LE(count, at + 446 + index * 16 + 12)
  }
  disk.writeUInt16LE(0xaa55, at + 510)
  return disk
}

/** A disk with these tables, by their sectors. */
function dos(tables: Readonly<Record<number, readonly Entry[]>>): Buffer {
  const disk = Buffer.alloc(sectors * 512)
  for (const [sector, entries] of Object.entries(tables)) mbr(disk, Number(sector), entries)
  return disk
}

async function partsOf(disk: Buffer): Promise<unknown> {
  const handle = openSync(file, 'r+')
  writeSync(handle, disk, 0, disk.byteLength, 0)
  closeSync(handle)
  const region = await Region.open(file, disk.byteLength)
  if (region === null) throw new Error('no volume')
  try {
    const contents = await contentsOf(region)
    return contents.map(one => [one.partition, one.region.offset / 512, one.region.bytes / 512])
  } catch (error) {
    return error instanceof Fault ? error.finding.finding : error
  } finally {
    await region.close()
  }
}

describe('partitions', () => {
  it('of a GPT are found in the order of their places', async () => {
    const parts = [
      { first: 100, last: 100 },
      { first: 34, last: 99 },
    ]
    expect(await partsOf(gpt({ parts }))).toEqual([
      [1, 34, 66],
      [2, 100, 1],
    ])
  })

  it('of an MBR are found, logical ones with them', async () => {
    const disk = dos({
      0: [
        { type: 0x83, first: 10, count: 10 },
        { type: 5, first: 50, count: 100 },
      ],
      50: [
        { type: 0x83, first: 2, count: 20 },
        { type: 5, first: 40, count: 60 },
      ],
      90: [{ type: 0x83, first: 1, count: 59 }],
    })
    expect(await partsOf(disk)).toEqual([
      [1, 10, 10],
      [2, 52, 20],
      [3, 91, 59],
    ])
  })

  it('are none where there is no table', async () => {
    expect(await partsOf(Buffer.alloc(sectors * 512))).toEqual([[null, 0, sectors]])
    expect(await partsOf(dos({ 0: [] }))).toEqual([[null, 0, sectors]])
    const boot = dos({ 0: [{ type: 0x83, first: 10, count: 10 }] })
    boot.writeUInt8(0x12, 446)
    expect(await partsOf(boot)).toEqual([[null, 0, sectors]])
  })

  const extended = { type: 0x0f, first: 50, count: 100 }
  const logical = { type: 0x83, first: 1, count: 5 }
  it.each<[string, Buffer]>([
    [
      'overlap',
      gpt({
        parts: [
          { first: 40, last: 60 },
          { first: 60, last: 70 },
        ],
      }),
    ],
    [
      'overlap in an MBR',
      dos({
        0: [
          { type: 0x83, first: 1, count: 10 },
          { type: 0x83, first: 10, count: 1 },
        ],
      }),
    ],
    ['end before they begin', gpt({ parts: [{ first: 60, last: 40 }] })],
    ['lie over the table', gpt({ parts: [{ first: 1, last: 40 }] })],
    ['lie over its copy', gpt({ parts: [{ first: 40, last: sectors - 1 }] })],
    ['lie outside', gpt({ parts: [{ first: 40, last: 2 ** 50 }] })],
    ['lie outside, in an MBR', dos({ 0: [{ type: 0x83, first: 1, count: 0xffffffff }] })],
    ['lie over an MBR', dos({ 0: [{ type: 0x83, first: 0, count: 10 }] })],
    ['are empty', dos({ 0: [{ type: 0x83, first: 10, count: 0 }] })],
    ['have no table but a promise of one', dos({ 0: [{ type: 0xee, first: 1, count: 100 }] })],
    ['stand in a table that was changed', gpt({ spoil: disk => disk.writeUInt8(1, 2 * 512 + 1000) })],
    ['stand in a header that was changed', gpt({ spoil: disk => disk.writeUInt8(1, 512 + 50) })],
    ['have a changed copy', gpt({ spoil: disk => disk.writeUInt8(1, (sectors - 1) * 512 + 50) })],
    ['have no copy', gpt({ spoil: disk => disk.fill(0, (sectors - 1) * 512) })],
    [
      'have a copy that names itself',
      gpt({ change: (header, which) => which === 'backup' && header.writeBigUInt64LE(199n, 32) }),
    ],
    ['are counted in billions', gpt({ change: header => header.writeUInt32LE(0xffffffff, 80) })],
    ['are none of none', gpt({ change: header => header.writeUInt32LE(0, 80) })],
    ['are described in no bytes', gpt({ change: header => header.writeUInt32LE(0, 84) })],
    ['are described in gigabytes', gpt({ change: header => header.writeUInt32LE(0xfffffff8, 84) })],
    ['have a header larger than its sector', gpt({ change: header => header.writeUInt32LE(0xffffffff, 12) })],
    ['have a header of no bytes', gpt({ change: header => header.writeUInt32LE(0, 12) })],
    ['stand elsewhere', gpt({ change: header => header.writeBigUInt64LE(0xffffffffffffffffn, 72) })],
    ['have a copy elsewhere', gpt({ change: header => header.writeBigUInt64LE(0x7fffffffffffffffn, 32) })],
    ['loop', dos({ 0: [extended], 50: [logical, { type: 5, first: 0, count: 10 }] })],
    [
      'loop over two',
      dos({
        0: [extended],
        50: [logical, { type: 5, first: 20, count: 10 }],
        70: [logical, { type: 5, first: 20, count: 9 }],
      }),
    ],
    ['leave their extended partition', dos({ 0: [extended], 50: [{ type: 0x83, first: 1, count: 120 }] })],
    ['follow one that leaves it', dos({ 0: [extended], 50: [logical, { type: 5, first: 110, count: 10 }] })],
    ['are extended twice', dos({ 0: [extended, { type: 5, first: 160, count: 10 }] })],
    ['are extended to outside', dos({ 0: [{ type: 5, first: 0xffffffff, count: 10 }] })],
    ['end in the middle', dos({ 0: [extended], 50: [logical, { type: 5, first: 20, count: 10 }] })],
  ])('are refused that %s', async (_, disk) => {
    expect(await partsOf(disk)).toBe('TABLE_BROKEN')
  })

  it('are not looked for in what is something else as well', async () => {
    const both = dos({ 0: [{ type: 0x83, first: 10, count: 10 }] })
    both.writeUInt16LE(0xef53, 0x438)
    expect(await partsOf(both)).toBe('CONTENT_AMBIGUOUS')
    const two = Buffer.alloc(sectors * 512)
    two.writeUInt16LE(0xef53, 0x438)
    two.write('XFSB')
    expect(await partsOf(two)).toBe('CONTENT_AMBIGUOUS')
  })
})
