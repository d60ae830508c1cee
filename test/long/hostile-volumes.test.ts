import { truncateSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { GiB, KiB, MiB } from '../../src/base/bytes.ts'
import type { LevelResult } from '../../src/base/drill-levels.ts'
import { type Bases, type Maker, makeBases, makeDeep, scatter } from '../drill/hostile-images.ts'
import { hostileTable, passed } from '../drill/hostile-table.ts'
import { expectLookUp, expectVerdict, write } from '../drill/hostile-verdicts.ts'
import { Volumes } from '../drill/support.ts'

/* Every hostile image of the table, looked up in as well, and two hundred that are changed at random places. */

const seeds = 200
const any: readonly LevelResult[] = ['passed', 'failed', 'suspicious']
/** Where most of the metadata lies. */
const ranges = { ext: [KiB, 400 * KiB], xfs: [512, 256 * KiB], btrfs: [64 * KiB, 3 * MiB] } as const

let bases: Bases
beforeAll(() => {
  bases = makeBases()
})

async function attempt(
  base: keyof Bases,
  make: Maker,
  expected?: readonly LevelResult[],
  bytes?: number,
  path?: string,
) {
  const image = Buffer.from(bases[base])
  make(image)
  const volumes = new Volumes()
  const file = volumes.add('hostile', image.byteLength)
  write(file, image)
  if (bytes !== undefined) truncateSync(file, bytes)
  await expectVerdict(volumes, expected, expect)
  if (path !== undefined) await expectLookUp(volumes, path, expect)
  await volumes.discard()
}

describe('a hostile image', () => {
  it.for(Object.entries(hostileTable))('%s', async ([, { base, make, expected, bytes, path }]) => {
    await attempt(base, make, expected, bytes, path)
  })

  it.for(Array.from({ length: seeds }, (_, seed) => seed))('changed at random, %i', async seed => {
    const base = (['ext', 'xfs', 'btrfs'] as const)[seed % 3] ?? 'ext'
    const [from, to] = ranges[base]
    const path = base === 'ext' ? '/dir/file' : undefined
    await attempt(base, scatter(1000 + seed, 1 + seed * 5, from, to), any, undefined, path)
  })

  it('of a million directories in each other', async () => {
    const volumes = new Volumes()
    makeDeep(volumes.add('deep', 0), 1_000_000)
    await expectVerdict(volumes, passed, expect, { memoryBytesMax: 2 * GiB, millisecondsMax: 1_200_000 })
    await volumes.discard()
  })
})
