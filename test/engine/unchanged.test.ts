import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeEach, expect, it } from 'vitest'
import { MiB } from '../../src/base/bytes.ts'
import { type EngineBench, run, testBench } from '../support/engine.ts'
import { TellingHost } from '../support/telling-host.ts'

/* Two backups of a host that tells what has changed between them. */

let bench: EngineBench
let host: TellingHost

beforeEach(async () => {
  host = new TellingHost()
  bench = await testBench({ wrapVolumes: honest => host.wrap(honest) })
  await writeFile(image(), randomBytes(4 * MiB))
})

const image = () => path.join(bench.machine, 'work', 'private.img')

const backup = () => run(bench)

it('asks with the state of the last snapshot, and stores nothing of what is unchanged', async () => {
  expect((await backup()).state).toBe('done')
  const second = await backup()
  expect(second).toMatchObject({ state: 'done', error: null })
  expect(second.outcome?.bytesStored).toBeLessThan(10_000)
  expect(host.asked).toEqual([null, { source: 'test', mark: '0' }])
})

it('a host that was wrong fails the job that finds it, and is not believed by the next', async () => {
  expect((await backup()).state).toBe('done')
  // Every chunk is another: whichever is sampled shows it.
  await writeFile(image(), randomBytes(4 * MiB))
  expect(await backup()).toMatchObject({ state: 'failed', error: { code: 'CHANGES_MISSED' } })
  const third = await backup()
  expect(third.state).toBe('done')
  expect(third.outcome?.bytesStored).toBeGreaterThan(4 * MiB)
  expect(host.asked.at(-1)).toBeNull()
})

it('an interrupted backup leaves nothing to the next', async () => {
  const before = createHash('sha256')
    .update(await readFile(image()))
    .digest('hex')
  bench.storage.faults = {
    before: (operation, subject) => {
      if (operation === 'put' && subject.startsWith('index/')) throw new Error('planted')
    },
  }
  expect((await backup()).state).toBe('failed')
  bench.storage.faults = {}
  expect((await backup()).state).toBe('done')
  expect(host.asked).toEqual([null, null])
  expect(
    createHash('sha256')
      .update(await readFile(image()))
      .digest('hex'),
  ).toBe(before)
})
