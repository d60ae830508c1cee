import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { readDraft } from '../../src/sealing/draft.ts'
import { sealedFilesMax } from '../../src/sealing/role.ts'
import { codeOf } from '../support/code-of.ts'
import { scratch } from '../support/scratch.ts'

/* In place of 20,000: making that many files is all that the test would take its time for. */
vi.mock('../../src/sealing/role.ts', async original => ({
  ...(await original<typeof import('../../src/sealing/role.ts')>()),
  sealedFilesMax: 40,
}))

const most = sealedFilesMax

test('a draft may hold what each role may hold, and not more of one', async () => {
  const draft = scratch('draft')
  const write = (folder: string, first: number, end: number) =>
    Promise.all(
      Array.from({ length: end - first }, (_, at) =>
        writeFile(path.join(draft, folder, `p${first + at}.json`), ''),
      ),
    )
  for (const folder of ['profiles', 'hsm']) {
    await mkdir(path.join(draft, folder))
    await write(folder, 0, most)
  }
  expect((await readDraft(draft)).size).toBe(2 * most)
  await write('hsm', most, most + 1)
  expect(await codeOf(() => readDraft(draft))).toBe('SEAL_DRAFT_INVALID')
})
