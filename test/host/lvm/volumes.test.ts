import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseVmName } from '../../../src/base/names.ts'
import { HostError } from '../../../src/host/errors.ts'
import { parseReport } from '../../../src/host/lvm/report.ts'
import type { Extent, FrozenVm, VolumeState } from '../../../src/host/volumes.ts'
import { never, volumeOf } from '../../contract/volume-source.ts'
import {
  type RecordedPool,
  recorded,
  recordedPool,
  snapshotA,
  snapshotB,
  uuidOfA,
  work,
} from '../../support/recorded-pool.ts'

const bytes = 64 * 1024 * 1024
const block = 64 * 1024
const failure = new HostError('COMMAND_FAILED', 'planted')
const sinceA: VolumeState = {
  source: 'lvm-thin qubes_dom0/vm-work-private',
  mark: JSON.stringify({ uuid: uuidOfA }),
}
const everything: Extent[] = [{ kind: 'data', offset: 0, length: bytes }]

let pool: RecordedPool
beforeEach(() => {
  pool = recordedPool()
})
afterEach(() => pool[Symbol.dispose]())

const names = () => pool.rows.map(row => row.lv_name)
const asked = (words: string) => pool.commands.run.filter(line => line.includes(words))

async function extentsOf(frozen: FrozenVm, since: VolumeState | null, signal = never): Promise<Extent[]> {
  const extents: Extent[] = []
  for await (const extent of volumeOf(frozen).extents(since, signal)) extents.push(extent)
  return extents
}
const blocksOf = (extents: readonly Extent[]) =>
  extents.map(({ kind, offset, length }) => [kind, offset / block, length / block])

/** What a backup since the kept snapshot is told. */
async function backedUpSinceA(): Promise<Extent[]> {
  await using frozen = await pool.source().freeze(work, never)
  return extentsOf(frozen, sinceA)
}

describe('a volume in a thin pool', () => {
  test('is frozen as a snapshot, read from its device, and gone when thawed', async () => {
    const frozen = await pool.source().freeze(work, never)
    const volume = volumeOf(frozen)
    expect(volume).toMatchObject({ name: 'private', bytes })
    expect(names()).toContain(snapshotB)
    expect((await readFile(volume.path)).subarray(0, 10).toString()).toBe('the device')
    await frozen[Symbol.asyncDispose]()
    expect(names()).not.toContain(snapshotB)
    expect(names()).toContain(snapshotA)
  })

  test('shows holes and data', async () => {
    await using frozen = await pool.source().freeze(work, never)
    expect(blocksOf(await extentsOf(frozen, null))).toEqual([
      ['hole', 0, 4],
      ['data', 4, 10],
      ['hole', 14, 86],
      ['data', 100, 1],
      ['hole', 101, 1],
      ['data', 102, 1],
      ['hole', 103, 97],
      ['data', 200, 2],
      ['hole', 202, 822],
    ])
  })

  test('shows what changed since the kept snapshot', async () => {
    expect(blocksOf(await backedUpSinceA())).toEqual([
      ['hole', 0, 4],
      ['unchanged', 4, 1],
      ['data', 5, 1],
      ['unchanged', 6, 8],
      ['hole', 14, 86],
      ['unchanged', 100, 1],
      ['hole', 101, 1],
      ['unchanged', 102, 1],
      ['hole', 103, 97],
      ['data', 200, 2],
      ['hole', 202, 822],
    ])
    expect(pool.held).toBeNull()
  })

  test('keeps its snapshot when the backup is committed, and removes the one before', async () => {
    const frozen = await pool.source().freeze(work, never)
    await using kept = frozen.keep(['private'])
    await frozen[Symbol.asyncDispose]()
    expect(names()).toEqual(expect.arrayContaining([snapshotA, snapshotB]))
    await kept.commit()
    expect(names()).toContain(snapshotB)
    expect(names()).not.toContain(snapshotA)
    expect(pool.rows.find(row => row.lv_name === snapshotB)?.lv_tags).toBe('strongroom-base')
  })

  test('keeps the one before when the backup is not committed', async () => {
    {
      await using frozen = await pool.source().freeze(work, never)
      await using _ = frozen.keep(['private'])
    }
    expect(names()).toContain(snapshotA)
    expect(names()).not.toContain(snapshotB)
  })

  test('is not removed while it is read, when it is let go of first', async () => {
    const frozen = await pool.source().freeze(work, never)
    await frozen.keep(['private'])[Symbol.asyncDispose]()
    expect(names()).toContain(snapshotB)
    await frozen[Symbol.asyncDispose]()
    expect(names()).not.toContain(snapshotB)
  })

  test('whose snapshot cannot be kept is a line in the log', async () => {
    pool.instead.set('lvchange', failure)
    const frozen = await pool.source().freeze(work, never)
    await using kept = frozen.keep(['private'])
    await frozen[Symbol.asyncDispose]()
    await kept.commit()
    expect(pool.lines).toEqual([expect.stringMatching(/cannot be kept/)])
    expect(names()).toContain(snapshotA)
  })

  test('that is not there, or not thin, cannot be frozen', async () => {
    pool.instead.set('lvcreate', new HostError('COMMAND_FAILED', 'Please specify either size or extents'))
    await expect(pool.source().freeze(work, never)).rejects.toMatchObject({ code: 'COMMAND_FAILED' })
    expect(asked('lvremove')).toEqual([])
    const freezing = pool.source().freeze(parseVmName('personal'), never)
    await expect(freezing).rejects.toMatchObject({ code: 'VM_MISSING' })
  })

  test('whose device cannot be opened leaves no snapshot', async () => {
    const source = pool.source()
    rmSync(path.join(pool.directory, `qubes_dom0-${snapshotB.replaceAll('-', '--')}`))
    await expect(source.freeze(work, never)).rejects.toMatchObject({ code: 'VOLUME_MISSING' })
    expect(names()).not.toContain(snapshotB)
  })

  test.each([
    ['--config', 'vm-work-private'],
    ['qubes_dom0', '--yes'],
    ['qubes_dom0', '../root'],
    ['qubes_dom0', 'a b'],
    ['qubes_dom0', 'a;b'],
    ['', 'vm-work-private'],
    ['qubes_dom0/x', 'vm-work-private'],
    ['qubes_dom0', 'v'.repeat(110)],
  ])('with the name %s/%s reaches no command', async (group, volume) => {
    await expect(pool.source({ group, volume }).freeze(work, never)).rejects.toBeInstanceOf(HostError)
    expect(asked('lvcreate')).toEqual([])
  })
})

describe('what a crash left', () => {
  const leftOver = (name: string, tags: string) => ({
    ...pool.rows.find(row => row.lv_name === snapshotA),
    lv_name: name,
    lv_tags: tags,
  })

  test('is removed before the first freeze, and nothing else', async () => {
    const unfinished = 'vm-work-private.strongroom-00000000000000ee'
    const orphan = 'vm-gone-private.strongroom-00000000000000ff'
    const foreign = ['vm-work-private.strongroom-short', 'vm-work-private-1795425875-back', 'vm-x.tick']
    pool.rows.push(
      leftOver(unfinished, ''),
      leftOver(orphan, 'strongroom-base'),
      ...foreign.map(name => leftOver(name, '')),
    )
    const source = pool.source()
    for (let round = 0; round < 2; round++) await (await source.freeze(work, never))[Symbol.asyncDispose]()
    expect(asked('lvremove').map(line => line.split('/').at(-1))).toEqual([
      unfinished,
      orphan,
      snapshotB,
      snapshotB,
    ])
    expect(names()).toEqual(expect.arrayContaining([snapshotA, ...foreign]))
  })

  test('of a metadata snapshot is released', async () => {
    pool.held = '44'
    const record = path.join(pool.directory, 'metadata-snapshots', 'qubes_dom0', 'vm-pool')
    mkdirSync(path.dirname(record), { recursive: true })
    writeFileSync(record, '44')
    expect((await backedUpSinceA()).some(({ kind }) => kind === 'unchanged')).toBe(true)
    expect(asked('_metadata_snap').map(line => line.split(' ').at(-1))).toEqual([
      'release_metadata_snap',
      'reserve_metadata_snap',
      'release_metadata_snap',
    ])
    expect(existsSync(record)).toBe(false)
  })
})

describe('a volume is read in full, and the log says why', () => {
  const cases: readonly [string, () => void, readonly string[]][] = [
    ['when somebody else holds the metadata snapshot', () => (pool.held = '44'), []],
    [
      'when somebody else took the metadata snapshot from us',
      () =>
        pool.instead.set('thin_delta --metadata-snap', () => {
          pool.held = '77'
          return recorded('delta-2-3')
        }),
      ['reserve_metadata_snap', 'release_metadata_snap'],
    ],
    [
      'when it cannot be held',
      () => pool.instead.set('reserve_metadata_snap', failure),
      ['reserve_metadata_snap'],
    ],
    [
      'when thin_delta fails',
      () => pool.instead.set('thin_delta --metadata-snap', failure),
      ['reserve_metadata_snap', 'release_metadata_snap'],
    ],
    [
      'when thin_delta answers from metadata of before',
      () =>
        pool.instead.set(
          '--metadata-snap',
          recorded('delta-2-3').replace('transaction="3"', 'transaction="2"'),
        ),
      ['reserve_metadata_snap', 'release_metadata_snap'],
    ],
    [
      'when its device has an external origin',
      () => pool.instead.set(`dmsetup table`, recorded('table-ext')),
      ['reserve_metadata_snap', 'release_metadata_snap'],
    ],
    [
      'when the device is another than LVM says',
      () => pool.instead.set('dmsetup table', recorded('table-b').replace(/3$/m, '4')),
      ['reserve_metadata_snap', 'release_metadata_snap'],
    ],
    ['when dmsetup says something else', () => pool.instead.set('dmsetup status', 'nonsense'), []],
  ]
  test.each(cases)('%s', async (_, plant, messages) => {
    plant()
    expect(await backedUpSinceA()).toEqual(everything)
    expect(asked('_metadata_snap').map(line => line.split(' ').at(-1))).toEqual(messages)
    expect(pool.lines[0]).toMatch(/read in full/)
  })

  test.each(['0.7.3', '0.6.2', '1.0.0', '1.0.5', '1.1', '', 'thin_delta 1.1.0', '-1.0.6'])(
    'when thin_delta has version %j',
    async version => {
      pool.instead.set('thin_delta --version', `${version}\n`)
      expect(await backedUpSinceA()).toEqual(everything)
      expect(asked('thin_delta --metadata-snap')).toEqual([])
    },
  )

  test.each(['0.7.4', '0.7.6', '0.8.5', '0.9.0', '1.0.6', '1.0.12', '1.1.0', '1.3.3', '2.0.0'])(
    'but not when it has version %s',
    async version => {
      pool.instead.set('thin_delta --version', `${version}\n`)
      expect((await backedUpSinceA()).some(({ kind }) => kind === 'unchanged')).toBe(true)
    },
  )
})

describe('a state', () => {
  const baseOtherwise = (change: Record<string, string>) => () => {
    pool.rows = pool.rows.map(row => (row.lv_name === snapshotA ? { ...row, ...change } : row))
  }
  test.each<[string, () => void]>([
    ['whose snapshot is gone', () => (pool.rows = pool.rows.filter(row => row.lv_name !== snapshotA))],
    ['whose snapshot is another one by now', baseOtherwise({ lv_uuid: uuidOfA.toLowerCase() })],
    ['whose snapshot has another size', baseOtherwise({ lv_size: '67108352' })],
    ['whose snapshot is in another pool', baseOtherwise({ pool_lv: 'other-pool' })],
    ['whose snapshot was not kept', baseOtherwise({ lv_tags: 'other,tags' })],
    [
      'whose snapshot is of another volume',
      baseOtherwise({ lv_name: 'vm-personal-private.strongroom-00000000000000aa' }),
    ],
  ])('%s is taken for none', async (_, damage) => {
    await using frozen = await pool.source().freeze(work, never)
    damage()
    expect((await extentsOf(frozen, sinceA)).some(({ kind }) => kind === 'unchanged')).toBe(false)
    expect(asked('thin_delta --metadata-snap --thin1 3 --thin2 3')).toHaveLength(1)
  })

  test('is told by the UUID of the snapshot, which LVM gives once', async () => {
    await using frozen = await pool.source().freeze(work, never)
    expect(volumeOf(frozen).state).toEqual({
      source: 'lvm-thin qubes_dom0/vm-work-private',
      mark: '{"uuid":"Uc837c-x805-maGR-RWZp-2pgo-dk8j-mQtv77"}',
    })
  })
})

test('a metadata snapshot is released when the job is cancelled meanwhile', async () => {
  const abort = new AbortController()
  const reason = new Error('the caller has had enough')
  await using frozen = await pool.source().freeze(work, never)
  pool.instead.set('thin_delta --metadata-snap', () => {
    abort.abort(reason)
    return failure
  })
  await expect(extentsOf(frozen, sinceA, abort.signal)).rejects.toBe(reason)
  expect(pool.held).toBeNull()
})

test('metadata snapshots of one pool are held one after another', async () => {
  const source = pool.source()
  await using frozen = await source.freeze(work, never)
  const all = await Promise.all(Array.from({ length: 5 }, () => extentsOf(frozen, sinceA)))
  for (const extents of all) expect(extents).toEqual(all[0])
  expect(all[0]?.some(({ kind }) => kind === 'unchanged')).toBe(true)
  expect(asked('reserve_metadata_snap')).toHaveLength(5)
})

describe('a report of lvs', () => {
  test('gives the thin volumes', () => {
    expect(parseReport(recorded('lvs-first')).map(({ name }) => name)).toEqual(['vm-work-private'])
    expect(parseReport(recorded('lvs-tagged')).map(({ tags }) => tags)).toEqual([
      [],
      ['strongroom-base'],
      ['strongroom-base'],
    ])
  })

  const good = recorded('lvs-both')
  test.each([
    ['empty', ''],
    ['cut', good.slice(0, -10)],
    ['with a size in another unit', good.replaceAll('67108864', '64.00m')],
    ['with a name that LVM does not allow', good.replaceAll('vm-work-private', 'vm/work')],
    ['with a pool that LVM does not allow', good.replaceAll('"vm-pool"', '"--pool"')],
    ['without a column', good.replaceAll('"lv_tags":""', '"other":""')],
    ['with a device that is no number', good.replace('"thin_id":"3"', '"thin_id":"three"')],
    ['with a number in place of text', good.replace('"thin_id":"3"', '"thin_id":3')],
    ['of two groups', good.replace('"report": [', '"report": [{"lv":[]},')],
    ['with a column twice', good.replace('"lv_tags":""', '"lv_tags":"","lv_tags":"strongroom-base"')],
  ])('that is %s is refused', (_, text) => {
    expect(() => parseReport(text)).toThrowError(expect.objectContaining({ code: 'VOLUME_MAP' }))
  })
})
