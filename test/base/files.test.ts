import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { makePrivateDirectory, readBounded } from '../../src/base/files.ts'

let directory: string
let file: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'files-'))
  file = path.join(directory, 'file')
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('a bounded read', () => {
  it('gives a whole plain file, or nothing where there is none', async () => {
    expect(await readBounded(file, 10)).toBeNull()
    writeFileSync(file, 'content')
    expect((await readBounded(file, 7))?.parse(bytes => Buffer.from(bytes).toString())).toBe('content')
    writeFileSync(file, '')
    expect((await readBounded(file, 7))?.parse(({ byteLength }) => byteLength)).toBe(0)
  })

  it('refuses what is too large before it reads it', async () => {
    writeFileSync(file, '')
    truncateSync(file, 2 ** 40)
    await expect(readBounded(file, 1000)).rejects.toMatchObject({ code: 'STREAM_TOO_LONG' })
  })

  it.each([
    ['a pipe', () => execFileSync('mkfifo', [file])],
    ['an endless device', () => symlinkSync('/dev/zero', file)],
    ['a directory', () => symlinkSync('/tmp', file)],
  ])('refuses %s, and is not held by it', async (_, plant) => {
    plant()
    await expect(readBounded(file, 1000)).rejects.toMatchObject({ code: 'FIELD_INVALID' })
  })
})

describe('a private directory', () => {
  it('is made with its parents, again and by many at once', async () => {
    const deep = path.join(directory, 'a/b/c')
    await Promise.all([deep, deep, path.dirname(deep)].map(makePrivateDirectory))
    await makePrivateDirectory(deep)
    expect(statSync(deep).mode & 0o777).toBe(0o700)
    expect(statSync(path.join(directory, 'a')).mode & 0o777).toBe(0o700)
  })

  it.each([
    ['where none can be made, without end', () => '/proc/strongroom', 'ENOENT'],
    ['nor below', () => '/proc/strongroom/a', 'ENOENT'],
    ['in the place of a file', () => file, 'EEXIST'],
    ['below a file', () => path.join(file, 'a'), 'ENOTDIR'],
  ])('is not tried %s', async (_, place, code) => {
    writeFileSync(file, '')
    await expect(makePrivateDirectory(place())).rejects.toMatchObject({ code })
  })
})
