import { appendFile, cp, mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLog } from '../../../src/base/log.ts'
import { watchDirectory } from '../../../src/host/local/watched-directory.ts'

let parent: string
let store: string
let moves: number
let watching: Disposable
const at = (name: string) => path.join(store, name)

beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'watched-'))
  store = path.join(parent, 'store')
  await mkdir(at('version-1/roles'), { recursive: true })
  await writeFile(at('version-1/roles/a.json'), '{}')
  await symlink('version-1', at('current'))
  moves = 0
  watching = watchDirectory(store, () => moves++, silentLog)
})
afterEach(async () => {
  watching[Symbol.dispose]()
  await rm(parent, { recursive: true })
})

/** Whatever comes of `change` has come. */
async function isTold(change: () => Promise<unknown>): Promise<boolean> {
  await quiet()
  const before = moves
  await change()
  await quiet()
  return moves > before
}

/** Until nothing has been told for a while: watching anew after each change takes turns of the loop. */
async function quiet(): Promise<void> {
  for (let before = -1; before !== moves; ) {
    before = moves
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

const changes: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['a byte written in place', () => writeByte('version-1/roles/a.json')],
  ['a file made', () => writeFile(at('version-1/extra'), '')],
  ['a file removed', () => rm(at('version-1/roles/a.json'))],
  [
    'another link put in the place of the one in force',
    async () => {
      await symlink('version-2', at('new'))
      await rename(at('new'), at('current'))
    },
  ],
]

async function writeByte(name: string): Promise<void> {
  const handle = await open(at(name), 'r+')
  await handle.write('x', 0)
  await handle.close()
}

test.each(changes)('%s is told', async (_, change) => {
  expect(await isTold(change)).toBe(true)
})

test('nothing is told when nothing happens', async () => {
  expect(await isTold(async () => {})).toBe(false)
})

test('what happens in a directory that was made later, in several steps', async () => {
  expect(await isTold(() => mkdir(at('version-2/roles'), { recursive: true }))).toBe(true)
  expect(await isTold(() => writeFile(at('version-2/roles/a.json'), '{}'))).toBe(true)
  expect(await isTold(() => appendFile(at('version-2/roles/a.json'), ' '))).toBe(true)
})

test('what happens in a directory that took the place of another', async () => {
  const replace = async () => {
    await rename(at('version-1'), at('aside'))
    await cp(at('aside'), at('version-1'), { recursive: true })
  }
  expect(await isTold(replace)).toBe(true)
  expect(await isTold(() => writeByte('version-1/roles/a.json'))).toBe(true)
})

test('that the whole directory was replaced, and what happens in the new one', async () => {
  const replace = async () => {
    await rename(store, path.join(parent, 'old'))
    await cp(path.join(parent, 'old'), store, { recursive: true, verbatimSymlinks: true })
  }
  expect(await isTold(replace)).toBe(true)
  expect(await isTold(() => writeByte('version-1/roles/a.json'))).toBe(true)
})

test('nothing is told after the end', async () => {
  watching[Symbol.dispose]()
  expect(await isTold(() => writeByte('version-1/roles/a.json'))).toBe(false)
})
