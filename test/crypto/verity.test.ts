import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Digest, parseDigest } from '../../src/base/names.ts'
import { CryptoError } from '../../src/crypto/errors.ts'
import { type Readable, verifyVerity, writeVerity } from '../../src/crypto/verity.ts'
import { maySkip } from '../support/may-skip.ts'

const block = 4096
const signal = new AbortController().signal
const uuid = new Uint8Array(Buffer.from('0123456789ab4def8123456789abcdef', 'hex'))
const salt = new Uint8Array(Buffer.from('00112233445566778899aabbccddeeff', 'hex'))
const uuidText = '01234567-89ab-4def-8123-456789abcdef'
const veritysetup = '/sbin/veritysetup'
const isMissing = spawnSync(veritysetup, ['--version']).status !== 0

/** A single block, one that fills a level, one more than that, three levels. */
const counts = [1, 2, 127, 128, 129, 300, 128 * 128, 128 * 128 + 1]

/** The same bytes every time, no block like another. */
function imageOf(blocks: number): Uint8Array {
  const length = blocks * block
  const seed = createHash('shake256', { outputLength: Math.min(length, 64 * block) })
    .update('image')
    .digest()
  const image = Buffer.alloc(length, seed)
  for (let index = 0; index < blocks; index++) image.writeUInt32LE(index, index * block)
  return new Uint8Array(image)
}

function memory(content: Uint8Array): Readable {
  return {
    bytes: content.byteLength,
    read: async (into, position) => {
      into.set(content.subarray(position, position + into.byteLength))
    },
  }
}

async function treeOf(image: Uint8Array, parameters = { salt, uuid }) {
  const parts: [number, Uint8Array][] = []
  const rootHash = await writeVerity(
    memory(image),
    parameters,
    async (bytes, position) => {
      parts.push([position, bytes.slice()])
    },
    { signal },
  )
  const tree = new Uint8Array(Math.max(...parts.map(([at, bytes]) => at + bytes.byteLength)))
  for (const [position, bytes] of parts) tree.set(bytes, position)
  return { tree, rootHash }
}

function verify(image: Uint8Array, tree: Uint8Array, rootHash: Digest) {
  return verifyVerity(memory(image), memory(tree), rootHash, { signal })
}

async function faultOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work()
  } catch (error) {
    if (error instanceof CryptoError) return `${error.code}: ${error.message}`
    throw error
  }
  return 'none'
}

const flipped = (bytes: Uint8Array, at: number) =>
  bytes.map((byte, index) => (index === at ? byte ^ 1 : byte))

describe.skipIf(maySkip(isMissing))('as veritysetup', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'strongroom-verity-'))
  })
  afterAll(() => rmSync(directory, { recursive: true }))
  const at = (name: string) => path.join(directory, name)

  function stock(image: Uint8Array, saltText: string) {
    writeFileSync(at('image'), image)
    rmSync(at('tree'), { force: true })
    const options = ['--salt', saltText, '--uuid', uuidText, '--root-hash-file', at('root')]
    execFileSync(veritysetup, ['format', ...options, at('image'), at('tree')])
    return {
      tree: new Uint8Array(readFileSync(at('tree'))),
      rootHash: readFileSync(at('root'), 'utf8').trim(),
    }
  }
  function stockVerify(image: Uint8Array, tree: Uint8Array, rootHash: string): number | null {
    writeFileSync(at('image'), image)
    writeFileSync(at('tree'), tree)
    return spawnSync(veritysetup, ['verify', at('image'), at('tree'), rootHash]).status
  }

  test.each(counts)('the tree of %d blocks is the same to the byte', async count => {
    const image = imageOf(count)
    const theirs = stock(image, Buffer.from(salt).toString('hex'))
    const ours = await treeOf(image)
    expect(ours.rootHash).toBe(theirs.rootHash)
    expect(Buffer.compare(ours.tree, theirs.tree)).toBe(0)
  })

  test.each([
    ['none', '-', 0],
    ['the longest', 'ab'.repeat(256), 256],
  ])('with a salt: %s', async (_, text, length) => {
    const image = imageOf(130)
    const theirs = stock(image, text)
    const ours = await treeOf(image, { salt: new Uint8Array(length).fill(0xab), uuid })
    expect(ours.rootHash).toBe(theirs.rootHash)
    expect(Buffer.compare(ours.tree, theirs.tree)).toBe(0)
  })

  test('it accepts what we write, and refuses one bit of it changed', async () => {
    const image = imageOf(300)
    const { tree, rootHash } = await treeOf(image)
    expect(stockVerify(image, tree, rootHash)).toBe(0)
    expect(stockVerify(flipped(image, 299 * block), tree, rootHash)).toBeGreaterThan(0)
    expect(stockVerify(image, flipped(tree, 2 * block), rootHash)).toBeGreaterThan(0)
  })

  test('we accept what it writes', async () => {
    const image = imageOf(300)
    const { tree, rootHash } = stock(image, '0123')
    const header = await verify(image, tree, parseDigest(rootHash))
    expect(header).toEqual({ salt: new Uint8Array([1, 0x23]), uuid, dataBlocks: 300 })
  })
})

describe('verifying', () => {
  test.each(counts)('of %d blocks', async count => {
    const image = imageOf(count)
    const { tree, rootHash } = await treeOf(image)
    expect(await verify(image, tree, rootHash)).toEqual({ salt, uuid, dataBlocks: count })
  })

  test.each([0, 127, 128, 299])('names block %d of the image if that differs', async bad => {
    const image = imageOf(300)
    const { tree, rootHash } = await treeOf(image)
    const broken = flipped(flipped(image, bad * block + 17), 299 * block + 5)
    expect(await faultOf(() => verify(broken, tree, rootHash))).toBe(
      `VERITY_MISMATCH: the image differs from what the root hash says in block ${bad}, at byte ${bad * block}`,
    )
  })

  test.each([1, 2, 4])('names block %d of the tree if that differs', async bad => {
    const image = imageOf(300)
    const { tree, rootHash } = await treeOf(image)
    expect(await faultOf(() => verify(image, flipped(tree, bad * block), rootHash))).toBe(
      `VERITY_MISMATCH: the hash tree differs from what the root hash says in block ${bad}, at byte ${bad * block}`,
    )
  })

  test('refuses another root hash', async () => {
    const image = imageOf(3)
    const { tree } = await treeOf(image)
    const { rootHash } = await treeOf(imageOf(4))
    expect(await faultOf(() => verify(image, tree, rootHash))).toContain('VERITY_MISMATCH: the hash tree')
  })

  test('refuses an image with blocks cut off', async () => {
    // How many blocks there are stands in the superblock, which the root hash does not cover.
    const { tree, rootHash } = await treeOf(imageOf(200))
    const shorter = tree.slice()
    new DataView(shorter.buffer).setUint32(72, 150, true)
    expect(await faultOf(() => verify(imageOf(150), shorter, rootHash))).toBe(
      'VERITY_MISMATCH: the root hash is of an image of more than 150 blocks',
    )
  })

  test('refuses an image with blocks added', async () => {
    const { tree, rootHash } = await treeOf(imageOf(150))
    const longer = tree.slice()
    new DataView(longer.buffer).setUint32(72, 151, true)
    expect(await faultOf(() => verify(imageOf(151), longer, rootHash))).toContain('block 150,')
  })

  test.each([
    ['magic', 0],
    ['version', 8],
    ['hash type', 12],
    ['algorithm', 37],
    ['block size', 65],
    ['number of blocks', 72],
    ['length of the salt', 81],
    ['rest', 4000],
  ])('refuses another superblock: %s', async (_, place) => {
    const image = imageOf(3)
    const { tree, rootHash } = await treeOf(image)
    expect(await faultOf(() => verify(image, flipped(tree, place), rootHash))).toContain('VERITY_MALFORMED')
  })

  test('refuses a tree of another length', async () => {
    const image = imageOf(3)
    const { tree, rootHash } = await treeOf(image)
    for (const other of [tree.subarray(0, block), new Uint8Array([...tree, 0])])
      expect(await faultOf(() => verify(image, other, rootHash))).toContain('VERITY_MALFORMED')
  })
})

test.each([0, 1, 4095, 4097])('an image of %d bytes has no tree', async length => {
  expect(await faultOf(() => treeOf(new Uint8Array(length)))).toContain('VERITY_MALFORMED')
})

test('tells how far it is, and stops when asked', async () => {
  const image = imageOf(300)
  const { tree, rootHash } = await treeOf(image)
  const told: number[] = []
  const stop = new AbortController()
  const work = verifyVerity(memory(image), memory(tree), rootHash, {
    signal: stop.signal,
    progress: (done, total) => {
      told.push(done / total)
      if (told.length === 2) stop.abort(new Error('enough'))
    },
  })
  await expect(work).rejects.toThrow('enough')
  expect(told).toEqual([128 / 300, 256 / 300])
})

test('holds no more of a large image than of a small one', async () => {
  const blocks = 64 * 1024
  const held = new Set<ArrayBufferLike>()
  const empty: Readable = {
    bytes: blocks * block,
    read: async into => {
      held.add(into.buffer)
    },
  }
  await writeVerity(
    empty,
    { salt, uuid },
    async bytes => {
      held.add(bytes.buffer)
    },
    { signal },
  )
  const bytes = [...held].reduce((sum, buffer) => sum + buffer.byteLength, 0)
  expect(bytes).toBeLessThan(1024 * 1024)
})
