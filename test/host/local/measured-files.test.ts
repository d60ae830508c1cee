import { execFileSync } from 'node:child_process'
import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/environment.ts'
import { errnoOf } from '../../../src/base/errors.ts'
import { FileMeasurer, type FileMeasurerOptions } from '../../../src/host/local/measured-files.ts'
import { directoryEntries } from '../../../src/sealing/image-source.ts'
import { stageTree } from '../../../src/sealing/image-stage.ts'

const ext4 = 0xef53n
const signal = new AbortController().signal
/** All that was written an hour ago is at rest. */
const clock = { ...systemClock, now: () => new Date(Date.now() + 3_600_000) }

let directory: string
let root: string
const at = (name: string) => path.join(root, name)
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'measured-'))
  root = path.join(directory, 'root')
  await mkdir(at('policy.d/include'), { recursive: true })
  await writeFile(at('policy.d/30.policy'), 'allow')
  await writeFile(at('policy.d/include/admin'), '')
  await writeFile(at('policy.txt'), 'text')
  await writeFile(at('large'), 'x'.repeat(3_000_000))
  await symlink('policy.txt', at('link'))
})
afterEach(() => rm(directory, { recursive: true }))

const bytes = 3_000_000 + 9

function measurer(options: Partial<FileMeasurerOptions> = {}) {
  const made = new FileMeasurer({ clock, boot: 'boot', fileSystemOf: async () => ext4, ...options })
  return (only: readonly string[] | null = null) => made.measure(root, only, signal)
}

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  return work().then(
    () => 'ok',
    error => errnoOf(error) ?? String(error),
  )
}

test('the digest is that of an image of the same files', async () => {
  await mkdir(path.join(directory, 'stage'))
  const staged = await stageTree(directoryEntries(root), path.join(directory, 'stage'), () => {}, signal)
  expect(await measurer()()).toEqual({ digest: staged.digest, files: 4, bytes, bytesRead: bytes })
})

describe('what nobody has written to', () => {
  test('is not read again', async () => {
    const measure = measurer()
    const first = await measure()
    expect(await measure()).toEqual({ ...first, bytesRead: 0 })
    expect((await measurer()()).bytesRead).toBe(bytes)
  })

  test.each([
    ['times that are not at rest', { clock: systemClock }],
    ['a file system of which nothing is known', { fileSystemOf: async () => 0x794c7630n }],
    ['no id of the running kernel', { boot: null }],
  ])('is read again with %s', async (_, options) => {
    const measure = measurer(options)
    const first = await measure()
    expect(first.bytesRead).toBe(bytes)
    expect(await measure()).toEqual(first)
  })
})

describe('a change is noticed', () => {
  test('of a byte, although size and mtime are as before', async () => {
    const measure = measurer()
    const first = await measure()
    const { atimeMs, mtimeMs } = await stat(at('policy.d/30.policy'))
    await writeFile(at('policy.d/30.policy'), 'allox')
    await utimes(at('policy.d/30.policy'), atimeMs / 1000, mtimeMs / 1000)
    const second = await measure()
    expect(second.digest).not.toBe(first.digest)
    expect(second).toMatchObject({ bytes, bytesRead: 5 })
  })

  test.each([
    [
      'another file put in its place',
      async () => {
        await writeFile(path.join(directory, 'other'), 'TEXT')
        await rename(path.join(directory, 'other'), at('policy.txt'))
      },
    ],
    ['a byte more', () => appendFile(at('policy.txt'), '!')],
    ['a file more', () => writeFile(at('policy.d/40.policy'), '')],
    ['a file less', () => rm(at('policy.d/include/admin'))],
    ['a directory more', () => mkdir(at('policy.d/more'))],
    ['another name', () => rename(at('policy.txt'), at('policy.text'))],
    ['another permission to execute', () => chmod(at('policy.txt'), 0o755)],
    [
      'another target of a link',
      async () => {
        await rm(at('link'))
        await symlink('large', at('link'))
      },
    ],
  ])('of %s', async (_, change) => {
    const measure = measurer()
    const first = await measure()
    await change()
    expect((await measure()).digest).not.toBe(first.digest)
  })

  test('and what came back is what it was', async () => {
    const measure = measurer()
    const first = await measure()
    const content = await readFile(at('policy.txt'))
    await rm(at('policy.txt'))
    await measure()
    await writeFile(at('policy.txt'), content)
    expect(await measure()).toEqual({ ...first, bytesRead: 4 })
  })

  test('while a file is being read', async () => {
    // The times were read, the bytes not yet.
    const fileSystemOf = async (file: string) => {
      await appendFile(file, '!')
      return ext4
    }
    expect(await codeOf(measurer({ fileSystemOf }))).toBe('FILES_CHANGED')
  })
})

test('some entries of a directory only; one that is not there is none', async () => {
  const measure = measurer()
  const first = await measure(['policy.d', 'policy.txt', 'nothing'])
  expect(first).toMatchObject({ files: 3, bytes: 9 })
  await writeFile(at('other'), 'x')
  expect(await measure(['policy.d', 'policy.txt', 'nothing'])).toEqual({ ...first, bytesRead: 0 })
})

describe('refused is', () => {
  const limits = { entriesMax: 7, bytesMax: bytes }

  test('one entry, or one byte, more than the limit', async () => {
    expect(await codeOf(measurer({ limits }))).toBe('ok')
    expect(await codeOf(measurer({ limits: { ...limits, entriesMax: 6 } }))).toBe('FILES_LIMIT')
    expect(await codeOf(measurer({ limits: { ...limits, bytesMax: bytes - 1 } }))).toBe('FILES_LIMIT')
  })

  test('a huge file, without reading it', async () => {
    await truncate(at('large'), 2 ** 40)
    expect(await codeOf(measurer())).toBe('FILES_LIMIT')
  })

  test('a pipe, and a name that is not UTF-8', async () => {
    execFileSync('mkfifo', [at('pipe')])
    expect(await codeOf(measurer())).toBe('FILES_ODD')
    await rm(at('pipe'))
    await writeFile(Buffer.concat([Buffer.from(at('x')), Buffer.of(0xff)]), '')
    expect(await codeOf(measurer())).toBe('FILES_ODD')
  })

  test('a root that does not exist', async () => {
    await rm(root, { recursive: true })
    expect(await codeOf(measurer())).toBe('ENOENT')
  })
})

test('stops when asked', async () => {
  const stop = new AbortController()
  stop.abort(new Error('enough'))
  const made = new FileMeasurer({ clock, boot: 'boot', fileSystemOf: async () => ext4 })
  await expect(made.measure(root, null, stop.signal)).rejects.toThrow('enough')
})
