import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, it } from 'vitest'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { run, testBench, testProfile } from '../support/engine.ts'
import { nicenesses } from '../support/nicenesses.ts'

it.each([
  ['', true],
  ['strongroom: { budget: { priority: low } }\n', true],
  ['strongroom: { budget: { priority: normal } }\n', false],
])('a backup with %j stands back behind other programs: %j', async (more, standsBack) => {
  const seen = new Set<number>()
  const watched = (store: ObjectStore) =>
    Object.assign(Object.create(store) as ObjectStore, {
      put: (...put: Parameters<ObjectStore['put']>) => {
        for (const one of nicenesses()) seen.add(one)
        return store.put(...put)
      },
    })
  const bench = await testBench({ profileText: testProfile + more, wrapStorage: watched })
  // Enough that it is worth threads.
  await writeFile(path.join(bench.machine, 'work/private.img'), randomBytes(40 * 1024 * 1024))
  expect((await run(bench)).state).toBe('done')
  expect(seen.has(10)).toBe(standsBack)
  expect(seen.has(0)).toBe(true)
})
