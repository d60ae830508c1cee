import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { HostError } from '../../../src/host/errors.ts'
import { changesBetween, compareMaps, holesOf } from '../../../src/host/local/compare-maps.ts'
import { type MappedRange, mapFile } from '../../../src/host/local/file-map.ts'
import type { Extent } from '../../../src/host/volumes.ts'
import { type Recorded, recordedCommands } from '../../support/recorded-commands.ts'

const never = new AbortController().signal
const vectors = path.join(import.meta.dirname, '../../vectors/filefrag')
const recorded = (name: string) => readFileSync(path.join(vectors, `${name}.txt`), 'utf8')
const MiB = 1024 * 1024

async function rangesOf(output: Recorded, bytes = MiB, blocks = 8): Promise<readonly MappedRange[]> {
  const ranges: MappedRange[] = []
  const commands = recordedCommands(() => output)
  for await (const range of mapFile(commands, { fd: 9, bytes, blocks }, never)) ranges.push(range)
  return ranges
}

describe('a map of filefrag', () => {
  test('is asked for after a sync, in bytes, of the file that is open', async () => {
    const commands = recordedCommands((_, { file }) => (file === 9 ? recorded('ext4-empty') : ''))
    for await (const _ of mapFile(commands, { fd: 9, bytes: MiB, blocks: 0 }, never));
    expect(commands.run).toEqual(['/usr/sbin/filefrag -v -s -b1 /proc/self/fd/3'])
  })

  test.each(['ext4', 'xfs', 'btrfs'])('of %s shows what may hold data', async kind => {
    expect((await rangesOf(recorded(`${kind}-sparse`))).map(({ offset, end }) => [offset, end])).toEqual([
      [40_960, 57_344],
      [798_720, 802_816],
    ])
    expect(await rangesOf(recorded(`${kind}-empty`), MiB, 0)).toEqual([])
  })

  test.each(['ext4', 'xfs', 'btrfs'])(
    'of %s shows reserved room, which a cache may have filled',
    async kind => {
      const ranges = await rangesOf(recorded(`${kind}-allocated`))
      expect(ranges.at(0)?.offset).toBe(0)
      expect(ranges.at(-1)?.end).toBe(MiB)
      expect(ranges.every(({ offset }, index) => offset === (ranges[index - 1]?.end ?? 0))).toBe(true)
    },
  )

  test('has addresses of shared blocks only, and only where an address means bytes', async () => {
    const shared = await rangesOf(recorded('xfs-shared-now'))
    expect(shared).toEqual([
      { offset: 0, end: 81_920, shared: 338_145_280 },
      { offset: 81_920, end: 86_016, shared: null },
      { offset: 86_016, end: 524_288, shared: 338_231_296 },
      { offset: 589_824, end: 1_044_480, shared: 338_735_104 },
      { offset: 1_044_480, end: MiB, shared: null },
    ])
    for (const name of ['btrfs-compressed', 'btrfs-inline'])
      expect(
        (await rangesOf(recorded(name), name === 'btrfs-inline' ? 5 : MiB)).every(one => one.shared === null),
      ).toBe(true)
  })

  const sparse = recorded('ext4-sparse')
  test.each<[string, Recorded]>([
    ['of a file system without maps', new HostError('COMMAND_FAILED', 'status 22')],
    ['that ends too soon', recorded('tmpfs')],
    ['of another kind of file system', sparse.replace('ef53', '6969')],
    ['from FIBMAP, whose rows are not shown', recorded('ext4-fibmap')],
    ['from FIBMAP, whose rows are shown', recorded('ext4-fibmap-rows')],
    ['of nothing, of a file that takes room', recorded('ext4-empty')],
    ['of a file of another size', sparse.replace('1048576', '1048577')],
    ['without a last line', sparse.replace(/\/proc\/self\/fd\/3: 1 extent found\n/, '')],
    ['with something after the last line', `${sparse}   2: 0..0: 0..0: 1: last\n`],
    ['with two last lines', sparse.replace(/(\/proc\S+ 1 extent found\n)/, '$1$1')],
    ['with a row that goes back', sparse.replace('798720', ' 40960')],
    ['with a row of no length', sparse.replace('..   57343', '..   40959')],
    ['with a number that is none', sparse.replace('798720', '79872x')],
    ['with a number that is too large', sparse.replace('802815', '9007199254740993')],
    ['without rows, although there are some', sparse.replace(/^ +\d+:.*\n/gm, '')],
    ['with a line without an end', sparse.replace('last', 'last'.repeat(200))],
    ['in another language', sparse.replace('extent found', 'Extent gefunden')],
    ['that is empty', ''],
  ])('%s is not believed', async (_, output) => {
    await expect(rangesOf(output)).rejects.toBeInstanceOf(HostError)
  })

  test('with a flag that is not known is data, at no address', async () => {
    const output = recorded('xfs-shared-now')
      .replace('last,shared,eof', '')
      .replaceAll('shared', 'shared,0x4000')
    expect((await rangesOf(output)).every(({ shared }) => shared === null)).toBe(true)
  })
})

describe('holes', () => {
  test('are what no row covers', async () => {
    // Those before and after 16 KiB of data are long enough to be told.
    const commands = recordedCommands(() => recorded('ext4-sparse'))
    expect(await holesOf(commands, { fd: 9, bytes: MiB, blocks: 8 }, never)).toEqual([
      { kind: 'data', offset: 0, length: 57_344 },
      { kind: 'hole', offset: 57_344, length: 741_376 },
      { kind: 'data', offset: 798_720, length: 4096 },
      { kind: 'hole', offset: 802_816, length: 245_760 },
    ])
  })
})

describe('two maps', () => {
  const [before, now] = [
    { fd: 8, bytes: MiB, blocks: 8 },
    { fd: 9, bytes: MiB, blocks: 8 },
  ]
  const changes = (of: (fd: number | undefined, turn: number) => Recorded) => {
    let turn = 0
    return changesBetween(
      recordedCommands((_, { file }) => of(file, turn++)),
      before,
      now,
      never,
    )
  }
  const real = (kind: string) => (fd: number | undefined) =>
    recorded(fd === before.fd ? `${kind}-shared-before` : `${kind}-shared-now`)

  test.each(['xfs', 'btrfs'])('of %s show what changed', async kind => {
    const kinds = (await changes(real(kind))).map(one => [one.kind, one.offset, one.length])
    expect(kinds).toEqual([
      ['unchanged', 0, 81_920],
      ['data', 81_920, 4096],
      ['unchanged', 86_016, 438_272],
      ['hole', 524_288, 65_536],
      ['unchanged', 589_824, 454_656],
      ['data', 1_044_480, 4096],
    ])
  })

  test('are not believed if blocks were moved meanwhile', async () => {
    const moved = (fd: number | undefined, turn: number) =>
      turn === 2 ? recorded('xfs-shared-before').replaceAll('338145280', '438145280') : real('xfs')(fd)
    await expect(changes(moved)).rejects.toMatchObject({ code: 'VOLUME_MAP' })
  })

  test('are not believed if one of them is wrong, wherever', async () => {
    for (const wrong of [before.fd, now.fd])
      await expect(
        changes(fd => (fd === wrong ? recorded('xfs-shared-now').slice(0, -20) : real('xfs')(fd))),
      ).rejects.toBeInstanceOf(HostError)
  })

  const K = 65_536
  type Rows = readonly (readonly [offset: number, end: number, shared: number | null])[]
  async function* ranges(rows: Rows): AsyncGenerator<MappedRange> {
    for (const [offset, end, shared] of rows) yield { offset: offset * K, end: end * K, shared }
  }
  test.each<[string, Rows, Rows, readonly string[]]>([
    ['the same address', [[0, 8, 500]], [[0, 8, 500]], ['unchanged']],
    [
      'the same address in other pieces',
      [[0, 8, K]],
      [
        [0, 3, K],
        [3, 8, 4 * K],
      ],
      ['unchanged'],
    ],
    ['another address', [[0, 8, K]], [[0, 8, 3 * K]], ['data']],
    ['the same address at another offset', [[0, 8, K]], [[1, 8, K]], ['hole', 'data']],
    ['no address before', [[0, 8, null]], [[0, 8, K]], ['data']],
    ['no address now', [[0, 8, K]], [[0, 8, null]], ['data']],
    ['neither an address', [[0, 8, null]], [[0, 8, null]], ['data']],
    ['nothing before', [], [[0, 8, K]], ['data']],
    ['nothing now', [[0, 8, K]], [], ['hole']],
    ['nothing at all', [], [], ['hole']],
    ['more than the volume', [[0, 9, K]], [[0, 10, K]], ['unchanged']],
  ])('%s', async (_, was, is, kinds) => {
    const extents: readonly Extent[] = await compareMaps(ranges(was), ranges(is), 8 * K)
    expect(extents.map(({ kind }) => kind)).toEqual(kinds)
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(8 * K)
  })

  test('with a short hole in both, among what is unchanged', async () => {
    const rows = [
      { offset: 0, end: 4 * K, shared: K },
      { offset: 4 * K + 4096, end: 8 * K, shared: 9 * K },
    ]
    const one = async function* () {
      yield* rows
    }
    expect(await compareMaps(one(), one(), 8 * K)).toEqual([{ kind: 'unchanged', offset: 0, length: 8 * K }])
  })
})
