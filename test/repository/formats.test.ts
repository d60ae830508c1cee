import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { BlobIds } from '../../src/repository/blob-ids.ts'
import { compress, decompress, decompressExactly } from '../../src/repository/compression.ts'
import { blobBytesMax, chunkBytesFor, indexBlobsMax, packBytesFull } from '../../src/repository/format.ts'
import {
  encodeIndex,
  groupForIndexes,
  type IndexedPack,
  openIndex,
  parseIndex,
} from '../../src/repository/index.ts'
import { encodeManifest, parseManifest } from '../../src/repository/manifest.ts'
import { headerRange, PackBuilder, packBytesOf, readPackHeader } from '../../src/repository/pack.ts'
import { encodeSnapshot, openSnapshot, parseSnapshot } from '../../src/repository/snapshot.ts'
import { encodeTree, parseTree } from '../../src/repository/tree.ts'
import { openUnpacked, sealUnpacked } from '../../src/repository/unpacked.ts'
import { codeOf } from '../support/code-of.ts'
import { digestOf, MiB } from './fixtures.ts'

const key = RepositoryKey.generate(systemEntropy)
const utf8 = (text: string) => new TextEncoder().encode(text)
const json = (value: unknown) => utf8(JSON.stringify(value))
const id = (byte: number) => byte.toString(16).padStart(2, '0').repeat(32)
const blob = { type: 'data', id: id(1), offset: 0, length: 100, uncompressedLength: 0 } as const

/** A parser that is given anything at all answers with a value or a typed error. */
function survives(parser: (bytes: Uint8Array) => unknown, genuine: Uint8Array): void {
  fc.assert(
    fc.property(fc.nat(Math.max(0, genuine.byteLength - 1)), fc.nat(255), fc.nat(3), (at, value, cut) => {
      const changed = genuine.slice(0, cut === 0 ? at : undefined)
      if (at < changed.byteLength) changed[at] = value
      void codeOfSync(() => parser(changed))
    }),
    { numRuns: 300 },
  )
}

function codeOfSync(act: () => unknown): void {
  try {
    act()
  } catch (error) {
    expect(error).toHaveProperty('code')
    expect(error).toHaveProperty('hint')
  }
}

describe('a pack', () => {
  test('names its blobs as they were added, in any number and of any kind', () => {
    const added = fc.record({ bytes: fc.uint8Array({ maxLength: 300 }), compressed: fc.boolean() })
    fc.assert(
      fc.property(fc.array(added, { maxLength: 40 }), fc.constantFrom('data', 'tree'), (blobs, type) => {
        const builder = new PackBuilder(type, key, systemEntropy)
        const expected = blobs.map(({ bytes, compressed }) => {
          const blobId = digestOf(bytes)
          const uncompressedLength = compressed ? bytes.byteLength + 1 : 0
          const place = builder.add(new Uint8Array(Buffer.from(blobId, 'hex')), bytes, uncompressedLength)
          return { type, id: blobId, uncompressedLength, ...place }
        })
        const { id: packId, body, bytes } = builder.finish()
        expect(packId).toBe(digestOf(body))
        expect(readPackHeader(key, body)).toEqual(expected)
        expect(packBytesOf(expected)).toBe(bytes)
        const { offset, length } = headerRange(expected)
        expect(offset + length + 4).toBe(bytes)
        for (const [index, { offset, length }] of expected.entries())
          expect(key.open(body.subarray(offset, offset + length))).toHaveLength(
            blobs[index]?.bytes.byteLength ?? -1,
          )
      }),
      { numRuns: 60 },
    )
  })

  test('is full at 16 MiB, and takes one larger blob', () => {
    const builder = new PackBuilder('tree', key, systemEntropy)
    builder.add(new Uint8Array(32), new Uint8Array(packBytesFull - 1000), 0)
    expect(builder.full).toBe(false)
    builder.add(new Uint8Array(32), new Uint8Array(20 * MiB), 0)
    expect(builder.full).toBe(true)
    expect(readPackHeader(key, builder.finish().body)).toHaveLength(2)
  })

  test('with a damaged end is refused with a typed error', async () => {
    const builder = new PackBuilder('data', key, systemEntropy)
    builder.add(new Uint8Array(32), utf8('blob'), 0)
    const { body } = builder.finish()
    survives(bytes => readPackHeader(key, bytes), body.slice())
    expect(await codeOf(() => readPackHeader(key, new Uint8Array(2)))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => readPackHeader(key, Buffer.concat([new Uint8Array(9), body])))).toBe(
      'REPOSITORY_FORMAT',
    )
    const headerOf = (header: Uint8Array) => {
      const sealed = key.seal(header, systemEntropy)
      const length = Buffer.alloc(4)
      length.writeUInt32LE(sealed.byteLength)
      return Buffer.concat([sealed, length])
    }
    expect(await codeOf(() => readPackHeader(key, headerOf(Buffer.alloc(37, 9))))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => readPackHeader(key, headerOf(Buffer.alloc(36))))).toBe('REPOSITORY_FORMAT')
    const huge = Buffer.alloc(41)
    huge[0] = 2
    huge.writeUInt32LE(100, 1)
    huge.writeUInt32LE(0xffffffff, 5)
    expect(await codeOf(() => readPackHeader(key, headerOf(huge)))).toBe('REPOSITORY_LIMIT')
  })
})

describe('an index', () => {
  const packs: readonly IndexedPack[] = [
    {
      id: id(7) as IndexedPack['id'],
      blobs: [blob, { ...blob, type: 'tree', offset: 100, uncompressedLength: 700 }],
    },
  ]

  test('is read back, and so is one with fields of later versions', () => {
    expect(parseIndex(encodeIndex(packs))).toEqual(packs)
    expect(parseIndex(json({ supersedes: [id(1)], packs: [] }))).toEqual([])
    expect(new TextDecoder().decode(encodeIndex(packs))).not.toContain('"uncompressed_length":0')
  })

  test('files hold at most 50 000 blobs, and every pack whole', () => {
    const many = Array.from({ length: 60 }, (_, index) => ({
      id: id(index) as IndexedPack['id'],
      blobs: Array.from({ length: 3000 }, () => blob),
    }))
    const groups = [...groupForIndexes(many)]
    expect(groups.flat()).toEqual(many)
    for (const group of groups)
      expect(group.reduce((sum, { blobs }) => sum + blobs.length, 0)).toBeLessThanOrEqual(indexBlobsMax)
    expect([...groupForIndexes([])]).toEqual([])
  })

  test.each([
    ['a sealed length below the overhead', { length: 31 }, 'REPOSITORY_FORMAT'],
    ['a plain length of zero', { uncompressed_length: 0 }, 'REPOSITORY_FORMAT'],
    ['a data blob larger than any', { uncompressed_length: blobBytesMax.data + 1 }, 'REPOSITORY_LIMIT'],
    ['a negative offset', { offset: -1 }, 'REPOSITORY_FORMAT'],
    ['a fraction', { offset: 0.5 }, 'REPOSITORY_FORMAT'],
    ['another type', { type: 'snapshot' }, 'REPOSITORY_FORMAT'],
    ['an id that is none', { id: 'zz' }, 'REPOSITORY_FORMAT'],
  ])('%s is refused', async (_, change, code) => {
    const plain = { id: id(1), type: 'data', offset: 0, length: 100, ...change }
    expect(await codeOf(() => parseIndex(json({ packs: [{ id: id(7), blobs: [plain] }] })))).toBe(code)
  })

  test('with any byte changed gives a value or a typed error', () => survives(parseIndex, encodeIndex(packs)))
})

describe('what the seal does not bind (a genuine object in the place of another)', () => {
  test('an index is no snapshot, a snapshot no index, and a config neither', async () => {
    const index = await sealUnpacked(key, encodeIndex([]), systemEntropy)
    const snapshot = await sealUnpacked(
      key,
      encodeSnapshot({ time: new Date(0), tree: id(1), tags: [] }),
      systemEntropy,
    )
    const config = key.seal(
      json({ version: 2, id: id(3), chunker_polynomial: '25b468838dcb75' }),
      systemEntropy,
    )
    expect(await openIndex(key, index.body)).toEqual([])
    expect((await openSnapshot(key, snapshot.body)).tree).toBe(id(1))
    expect(await codeOf(() => openIndex(key, snapshot.body))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => openSnapshot(key, index.body))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => openSnapshot(key, config))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => openIndex(key, config))).toBe('REPOSITORY_FORMAT')
    const builder = new PackBuilder('data', key, systemEntropy)
    builder.add(new Uint8Array(32), utf8('x'), 0)
    expect(await codeOf(() => openSnapshot(key, builder.finish().body))).toBe('MAC_WRONG')
  })

  test('sealed JSON without compression, as older versions wrote it, is read; anything else is not', async () => {
    expect(await openUnpacked(key, key.seal(utf8('{}'), systemEntropy), 10)).toEqual(Buffer.from('{}'))
    expect(await codeOf(() => openUnpacked(key, key.seal(utf8('{"a":1}'), systemEntropy), 3))).toBe(
      'REPOSITORY_LIMIT',
    )
    expect(await codeOf(() => openUnpacked(key, key.seal(utf8(''), systemEntropy), 3))).toBe(
      'REPOSITORY_FORMAT',
    )
    expect(await codeOf(() => openUnpacked(key, key.seal(utf8('\u0001'), systemEntropy), 3))).toBe(
      'REPOSITORY_FORMAT',
    )
  })
})

describe('a snapshot', () => {
  const plain = { time: '2026-11-24T03:15:00.123456789+01:00', tree: id(1), paths: ['/home'] }

  test('is read back, ours and one of stock restic', () => {
    const time = new Date('2026-11-24T03:15:00Z')
    const ours = parseSnapshot(encodeSnapshot({ time, tree: id(2), tags: ['job:a'] }))
    expect(ours).toEqual({ time: time.toISOString(), tree: id(2), paths: ['/volumes'], tags: ['job:a'] })
    expect(parseSnapshot(json({ ...plain, hostname: 'h', uid: 0, summary: {} }))).toMatchObject({ tags: [] })
  })

  test('without a tree, or with another kind of one, is refused', async () => {
    for (const tree of [undefined, null, 'x', 7])
      expect(await codeOf(() => parseSnapshot(json({ ...plain, tree })))).toBe('REPOSITORY_FORMAT')
    survives(parseSnapshot, json(plain))
  })
})

describe('a tree', () => {
  const content = new BlobIds()
  for (let index = 0; index < 1000; index++) content.push(randomBytes(32))
  const nodes = [
    { type: 'dir', name: 'b', subtree: id(3) },
    { type: 'file', name: 'a.img', bytes: 1000, content },
    { type: 'file', name: 'B', bytes: 0, content: new BlobIds() },
  ] as const

  test('is read back, sorted by bytes', () => {
    const read = parseTree(encodeTree(nodes))
    expect(read.map(({ name }) => name)).toEqual(['B', 'a.img', 'b'])
    expect(read[2]).toEqual({ type: 'dir', name: 'b', subtree: id(3) })
    const file = read[1]
    expect(file?.type === 'file' ? [...file.content] : null).toEqual([...content])
    expect(JSON.parse(new TextDecoder().decode(encodeTree(nodes))).nodes[0].content).toEqual([])
  })

  test('is the same blob for the same content', () => {
    expect(digestOf(encodeTree(nodes))).toBe(digestOf(encodeTree(nodes.toReversed())))
  })

  test('names that would need quoting, or are there twice, are refused', async () => {
    for (const name of ['', '../x', 'a/b', 'a"b', 'ä', '.hidden', '-x'])
      expect(await codeOf(() => encodeTree([{ type: 'dir', name, subtree: id(1) }]))).toBe(
        'VOLUME_UNSUITABLE',
      )
    const twice = { type: 'dir', name: 'x', subtree: id(1) } as const
    expect(await codeOf(() => encodeTree([twice, twice]))).toBe('VOLUME_UNSUITABLE')
  })

  test('links and devices of stock restic are passed over; faults are refused', async () => {
    const link = { name: 'l', type: 'symlink', linktarget: '/etc', content: null }
    expect(parseTree(json({ nodes: [link] }))).toEqual([{ type: 'other', name: 'l' }])
    const file = { name: 'f', type: 'file', content: [id(1)] }
    for (const bad of [
      [file, file],
      [{ ...file, name: 'z' }, file],
      [{ ...file, content: ['zz'] }],
      [{ ...file, content: [7] }],
      [{ ...file, content: 'x' }],
      [{ ...file, size: -1 }],
      [{ name: 'd', type: 'dir' }],
      [null],
    ])
      expect(await codeOf(() => parseTree(json({ nodes: bad })))).toBe('REPOSITORY_FORMAT')
    survives(parseTree, json({ nodes: [{ ...file }, link] }))
  })
})

describe('a manifest', () => {
  const vms = parseManifest(
    json({
      version: 2,
      salt: id(4),
      vms: [{ name: 'work', volumes: [{ name: 'root', bytes: 5, chunkBytes: 262144, digest: id(5) }] }],
    }),
  )
  test('is read back; its salt makes the same backup look different', () => {
    const [one, two] = [encodeManifest(vms, systemEntropy), encodeManifest(vms, systemEntropy)]
    expect(parseManifest(one)).toEqual(vms)
    expect(digestOf(one)).not.toBe(digestOf(two))
    survives(parseManifest, one)
  })

  test('that could not be read back is not written', async () => {
    const [work] = vms
    const many = Array.from({ length: 1001 }, () => work).filter(one => one !== undefined)
    expect(await codeOf(() => encodeManifest(many, systemEntropy))).toBe('SNAPSHOT_LIMIT')
    expect(parseManifest(encodeManifest(many.slice(1), systemEntropy))).toHaveLength(1000)
  })
})

describe('zstd', () => {
  test('unfolds what it folded, and says when that is not worth it', async () => {
    const text = utf8('again and again '.repeat(1000))
    const folded = compress(text)
    expect(folded?.byteLength).toBeLessThan(200)
    expect(await decompressExactly(folded ?? new Uint8Array(0), text.byteLength)).toEqual(Buffer.from(text))
    expect(compress(randomBytes(1000))).toBeNull()
    expect(compress(new Uint8Array(0))).toBeNull()
  })

  test('unfolds frames that tell their length, however, and frames that do not', async () => {
    /** One raw block behind a header without a length. */
    const silent = (plain: Buffer) => {
      const block = Buffer.alloc(3)
      block.writeUIntLE(plain.byteLength * 8 + 1, 0, 3)
      return Buffer.concat([Buffer.from('28b52ffd0058', 'hex'), block, plain])
    }
    for (const bytes of [1, 255, 256, 300, 65_791, 65_792, 100_000]) {
      const plain = randomBytes(bytes).fill(7, bytes >>> 1)
      const telling = zstdCompressSync(plain, { pledgedSrcSize: bytes })
      for (const frame of [telling, silent(plain)]) {
        expect(plain.equals(await decompress(frame, 100_000)), `${bytes}`).toBe(true)
        if (bytes > 1) expect(await codeOf(() => decompress(frame, bytes - 1))).toBe('REPOSITORY_FORMAT')
      }
    }
  })

  test('a bomb and another length than stated are refused', async () => {
    const bomb = zstdCompressSync(new Uint8Array(64 * MiB))
    expect(bomb.byteLength).toBeLessThan(16 * 1024)
    expect(await codeOf(() => decompress(bomb, MiB))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => decompressExactly(bomb, MiB))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => decompressExactly(zstdCompressSync(utf8('abc')), 4))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => decompress(utf8('no frame'), MiB))).toBe('REPOSITORY_FORMAT')
    expect(await codeOf(() => decompress(new Uint8Array(0), MiB))).toBe('REPOSITORY_FORMAT')
  })
})

test.each([
  [1, 256],
  [128, 256],
  [129, 512],
  [256, 512],
  [257, 1024],
])('a volume of %i GiB is cut at %i KiB', (gibibytes, kibibytes) => {
  expect(chunkBytesFor(gibibytes * 1024 * MiB)).toBe(kibibytes * 1024)
})
