import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { MemoryStore } from '../support/memory-store.ts'
import { backup, KiB, MiB, newRepository, sampleImage, tableOf } from './fixtures.ts'
import { resticPrograms, StockRestic } from './stock-restic.ts'

/* Whatever stock restic does with a repository of its own it also does with one of ours, and leaves it sound. */

const first = { private: sampleImage(3 * MiB + 4096), root: sampleImage(6 * MiB, 2) }
const second = { private: first.private.slice(), root: first.root.slice() }
second.root.fill(0xa5, 5 * MiB, 5 * MiB + 4 * KiB)
const store = new MemoryStore()

beforeAll(async () => {
  using created = await newRepository(store)
  const one = await backup(created, store, [{ name: 'work', volumes: first }])
  await backup(created, store, [{ name: 'work', volumes: second }], await tableOf(created, one))
})

describe.each(resticPrograms)('%s', program => {
  let restic: StockRestic
  /** A fresh copy for each test. */
  let root: string

  beforeAll(async () => {
    restic = await StockRestic.make(program)
  })
  afterAll(() => restic[Symbol.asyncDispose]())
  beforeEach(async () => {
    root = await restic.layOut(store, 'ours')
  })

  const isSound = async (repository = root) =>
    expect(await restic.run(repository, 'check', '--read-data')).toContain('no errors were found')
  const isRestored = async (images: typeof second, repository = root) => {
    const target = path.join(restic.directory, 'restored')
    await rm(target, { recursive: true, force: true })
    await restic.run(repository, 'restore', 'latest', '--target', target)
    for (const [name, image] of Object.entries(images))
      expect(Buffer.compare(await readFile(path.join(target, `volumes/work/${name}.img`)), image)).toBe(0)
  }
  /** Names change from one version to the next. */
  const has = (command: string) => {
    const help = execFileSync(program, ['help'], { encoding: 'utf8' })
    return new RegExp(`^ *${command} `, 'm').test(help)
  }

  test('check and restore', async () => {
    await isSound()
    await isRestored(second)
  })

  test('a backup of its own, forget and prune', async () => {
    const file = path.join(restic.directory, 'file')
    await writeFile(file, 'written by stock restic')
    await restic.run(root, 'backup', file)
    await restic.run(root, 'forget', '--keep-last', '1', '--group-by', '', '--prune')
    await isSound()
    expect(JSON.parse(await restic.run(root, 'snapshots', '--json'))).toHaveLength(1)
  })

  test('forget of the older snapshot, and prune, leave the newer one whole', async () => {
    await restic.run(root, 'forget', '--keep-last', '1')
    await restic.run(root, 'prune', '--max-unused', '0')
    await isSound()
    await isRestored(second)
  })

  test('copy into a repository of its own', async () => {
    const theirs = path.join(restic.directory, 'theirs')
    await rm(theirs, { recursive: true, force: true })
    await restic.run(
      theirs,
      'init',
      '--repository-version',
      '2',
      '--from-repo',
      root,
      '--copy-chunker-params',
    )
    await restic.run(theirs, 'copy', '--from-repo', root)
    await isSound(theirs)
    await isRestored(second, theirs)
  })

  test('repair of an index that is gone', async () => {
    for (const name of await readdir(path.join(root, 'index'))) await rm(path.join(root, 'index', name))
    await expect(isSound()).rejects.toThrow()
    await restic.run(root, ...(has('repair') ? ['repair', 'index'] : ['rebuild-index']))
    await isSound()
    await isRestored(second)
  })

  // Containers often have no FUSE.
  test.skipIf(!existsSync('/dev/fuse'))('mount', async () => {
    const at = path.join(restic.directory, 'mounted')
    await mkdir(at)
    const args = ['--repo', root, '--no-cache', 'mount', at]
    const mounted = spawn(program, args, { env: restic.environment, stdio: 'ignore' })
    try {
      const volumes = path.join(at, 'snapshots/latest/volumes/work')
      await appears(volumes, mounted)
      expect((await readdir(volumes)).sort()).toEqual(['private.img', 'root.img'])
      for (const [name, image] of Object.entries(second))
        expect(Buffer.compare(await readFile(path.join(volumes, `${name}.img`)), image)).toBe(0)
    } finally {
      const ended = new Promise(resolve => mounted.once('exit', resolve))
      // It unmounts when it is asked to end.
      mounted.kill('SIGINT')
      if (mounted.exitCode === null) await ended
    }
  })
})

async function appears(directory: string, by: ChildProcess): Promise<void> {
  while (!existsSync(directory)) {
    if (by.exitCode !== null) throw new Error(`mount ended with ${by.exitCode}`)
    await setTimeout(50)
  }
}
