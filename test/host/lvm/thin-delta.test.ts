import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { linesOf } from '../../../src/host/commands.ts'
import { HostError } from '../../../src/host/errors.ts'
import {
  readThinDelta,
  type ThinDelta,
  type ThinQuestion,
  thinExtents,
} from '../../../src/host/lvm/thin-delta.ts'

const vectors = path.join(import.meta.dirname, '../../vectors/thin-delta')
const recorded = (name: string) => readFileSync(path.join(vectors, `${name}.xml`), 'utf8')
const block = 65_536

async function* bytesOf(text: string) {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.byteLength; at += 37) yield bytes.subarray(at, at + 37)
}

const deltasOf = (text: string, question: ThinQuestion) =>
  readThinDelta(linesOf(bytesOf(text), 500), question)

async function blocksOf(text: string, question: ThinQuestion) {
  const blocks: [ThinDelta['kind'], number, number][] = []
  for await (const { kind, offset, end } of deltasOf(text, question))
    blocks.push([kind, offset / block, (end - offset) / block])
  return blocks
}

const asked = { left: 2, right: 3, transactionMin: 3 }
const twoToThree = [
  ['same', 4, 1],
  ['different', 5, 1],
  ['same', 6, 8],
  ['same', 20, 4],
  ['different', 24, 4],
  ['left_only', 30, 1],
  ['right_only', 31, 1],
  ['left_only', 50, 12],
  ['right_only', 90, 2],
]

describe('what thin_delta says', () => {
  test.each(['0.9.0', '1.1.0'])('in version %s is read', async version => {
    expect(await blocksOf(recorded(`delta-2-3-${version}`), asked)).toEqual(twoToThree)
    expect(await blocksOf(recorded(`delta-4-4-${version}`), { ...asked, left: 4, right: 4 })).toEqual([])
    expect(await blocksOf(recorded(`delta-4-3-${version}`), { ...asked, left: 4 })).toEqual([
      ['right_only', 4, 10],
      ['right_only', 20, 8],
      ['right_only', 31, 1],
      ['right_only', 90, 2],
    ])
  })

  test('of a pool in use is read', async () => {
    expect(await blocksOf(recorded('live-2-3'), asked)).toEqual([
      ['same', 4, 1],
      ['different', 5, 1],
      ['same', 6, 8],
      ['same', 100, 1],
      ['left_only', 101, 1],
      ['same', 102, 1],
      ['right_only', 200, 2],
    ])
  })

  const good = recorded('delta-2-3-1.1.0')
  test.each<[string, string, Partial<ThinQuestion>?]>([
    ['to another question', good, { left: 1 }],
    ['to another question still', good, { right: 4 }],
    ['of metadata from before', good, { transactionMin: 6 }],
    ['that is empty', ''],
    ['that ends too soon', good.slice(0, -20)],
    [
      'that ends before a difference',
      '<superblock uuid="" time="2" transaction="5" data_block_size="128" nr_data_blocks="1000">\n</superblock>',
    ],
    ['with two differences', good.replace(/( {2}<diff[\s\S]*<\/diff>\n)/, '$1$1')],
    ['with an empty difference before', good.replace(/( {2}<diff.*\n)/, '$1  </diff>\n$1')],
    ['with something after its end', `${good}\n<same begin="1" length="1"/>`],
    ['twice', `${good}\n${good}`],
    ['with details', recorded('live-2-3-verbose')],
    ['of metadata that must be checked', good.replace('nr_data_blocks', 'flags="1" nr_data_blocks')],
    ['that goes back', good.replace('begin="31"', 'begin="20"')],
    ['that overlaps', good.replace('begin="31"', 'begin="30"')],
    ['of nothing', good.replace('begin="31" length="1"', 'begin="31" length="0"')],
    ['of another kind', good.replace('left_only', 'neither')],
    ['without a length', good.replace(' length="12"', '')],
    ['with more than a length', good.replace('length="12"', 'length="12" extra="1"')],
    ['with two lengths', good.replace('length="12"', 'length="12" length="12"')],
    ['with a negative number', good.replace('begin="4"', 'begin="-4"')],
    ['with a fraction', good.replace('begin="4"', 'begin="4.5"')],
    ['with another base', good.replace('begin="4"', 'begin="0x4"')],
    ['with a number that is too large', good.replace('length="2"', 'length="9007199254740991"')],
    ['with an odd block size', good.replace('size="128"', 'size="100"')],
    ['with no block size', good.replace('size="128"', 'size="0"')],
    ['with a huge block size', good.replace('size="128"', 'size="4194304"')],
    ['with an entity', good.replace('uuid=""', 'uuid="&amp;"')],
    ['with a document type', `<!DOCTYPE x>\n${good}`],
    ['with a comment', good.replace('<diff', '<!-- -->\n<diff')],
    ['in one line', good.replaceAll('\n', '')],
    ['with an open element', good.replace('length="12"/>', 'length="12">')],
    ['with the wrong end', good.replace('</diff>', '</same>')],
    ['that is a complaint', 'no current metadata snap\nUsage: thin_delta [options] <device or file>\n'],
  ])('%s is not believed', async (_, text, other = {}) => {
    expect(text === good && Object.keys(other).length === 0).toBe(false)
    await expect(blocksOf(text, { ...asked, ...other })).rejects.toBeInstanceOf(HostError)
  })
})

describe('the extents of a thin volume', () => {
  const extentsOf = async (text: string, question: ThinQuestion, blocks: number) =>
    (await thinExtents(deltasOf(text, question), blocks * block, question.left !== question.right)).map(
      ({ kind, offset, length }) => [kind, offset / block, length / block],
    )

  test('since another are unchanged, data, or holes where nothing is mapped now', async () => {
    expect(await extentsOf(recorded('delta-2-3-0.9.0'), asked, 100)).toEqual([
      ['hole', 0, 4],
      ['unchanged', 4, 1],
      ['data', 5, 1],
      ['unchanged', 6, 8],
      ['hole', 14, 6],
      ['unchanged', 20, 4],
      ['data', 24, 4],
      ['hole', 28, 3],
      ['data', 31, 1],
      ['hole', 32, 58],
      ['data', 90, 2],
      ['hole', 92, 8],
    ])
  })

  test('since nothing are data or holes', async () => {
    expect(await extentsOf(recorded('delta-3-3-0.9.0'), { ...asked, left: 3 }, 100)).toEqual([
      ['hole', 0, 4],
      ['data', 4, 10],
      ['hole', 14, 6],
      ['data', 20, 8],
      ['hole', 28, 3],
      ['data', 31, 1],
      ['hole', 32, 58],
      ['data', 90, 2],
      ['hole', 92, 8],
    ])
    expect(await extentsOf(recorded('delta-4-4-0.9.0'), { ...asked, left: 4, right: 4 }, 10)).toEqual([
      ['hole', 0, 10],
    ])
  })

  test('end with the volume, which need not fill its last block', async () => {
    const extents = await thinExtents(deltasOf(recorded('delta-2-3-0.9.0'), asked), 91.5 * block, true)
    expect(extents.at(-1)).toEqual({ kind: 'data', offset: 90 * block, length: 1.5 * block })
  })
})

test('the installed thin_delta says what was recorded', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'thin-'))
  const metadata = path.join(directory, 'metadata')
  writeFileSync(metadata, '')
  truncateSync(metadata, 4 * 1024 * 1024)
  const run = (program: string, ...rest: string[]) => spawnSync(program, rest, { encoding: 'utf8' })
  expect(run('/usr/sbin/thin_restore', '-i', path.join(vectors, 'metadata.xml'), '-o', metadata).status).toBe(
    0,
  )
  const names = readdirSync(vectors).filter(name => name.endsWith('-0.9.0.xml'))
  expect(names).toHaveLength(5)
  for (const name of names) {
    const [, left = '', right = ''] = /^delta-(\d)-(\d)-/.exec(name) ?? []
    const said = run('/usr/sbin/thin_delta', '--thin1', left, '--thin2', right, metadata).stdout
    expect(said.trimEnd()).toBe(readFileSync(path.join(vectors, name), 'utf8').trimEnd())
  }
  rmSync(directory, { recursive: true })
})
