import { truncateSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Bases, makeBases, makeDeep } from './hostile-images.ts'
import { hostileTable, passed } from './hostile-table.ts'
import { expectLookUp, expectVerdict, write } from './hostile-verdicts.ts'
import { examine, Volumes } from './support.ts'

/** Of a kind with others here; test/long has all of them. */
const forLong = /65535|noise|2\^3|GiB|here and there, 2|64 KiB|is missing|odd length|odd|many mounts|4 TiB/
const chosen = Object.entries(hostileTable).filter(([name], index) => index % 3 === 0 || !forLong.test(name))
/** A few are looked up in as well, by debugfs. */
const lookedUp = /an exabyte|in a block that is itself|in itself|no length|everywhere/

describe.concurrent('a hostile image', () => {
  let bases: Bases
  beforeAll(() => {
    bases = makeBases()
  })

  it('is one of fifty', () => {
    expect(chosen.length).toBeGreaterThanOrEqual(50)
  })

  it('has a sound one to begin with, of each kind', async context => {
    const volumes = new Volumes()
    for (const [name, image] of Object.entries(bases)) write(volumes.add(name, image.byteLength), image)
    const { levels } = await examine(volumes, volumes.order())
    context
      .expect(levels[0]?.message)
      .toBe('sound file systems: 3; all else is empty, swap space or a boot loader')
  })

  it.for(chosen)('%s', async ([name, hostile], context) => {
    const image = Buffer.from(bases[hostile.base])
    hostile.make(image)
    const volumes = new Volumes()
    const file = volumes.add('hostile', image.byteLength)
    write(file, image)
    if (hostile.bytes !== undefined) truncateSync(file, hostile.bytes)
    await expectVerdict(volumes, hostile.expected, context.expect)
    if (hostile.path !== undefined && lookedUp.test(name))
      await expectLookUp(volumes, hostile.path, context.expect)
    await volumes.discard()
  })

  it('of directories in each other, ten thousand deep, is nothing special', async context => {
    const volumes = new Volumes()
    makeDeep(volumes.add('deep', 0), 10_000)
    await expectVerdict(volumes, passed, context.expect)
    await volumes.discard()
  })
})
