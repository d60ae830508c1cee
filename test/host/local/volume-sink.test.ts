import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseVmName } from '../../../src/base/names.ts'
import { localVolumeSink, sweepUnfinished } from '../../../src/host/local/volume-sink.ts'

const [work, personal] = [parseVmName('work'), parseVmName('personal')]
const never = new AbortController().signal
const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))

let parent: string
let directory: string
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), 'sink-'))
  directory = path.join(parent, 'restored')
})
afterEach(() => rm(parent, { recursive: true }))

const image = (vm = work, name = 'private') => path.join(directory, vm, `${name}.img`)
const isThere = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  )

describe('new volumes', () => {
  test('appear whole and all at once at the commit, and not before', async () => {
    {
      await using sink = localVolumeSink(directory)
      const first = await sink.create(work, 'private', content.byteLength, never)
      await first.write(content.subarray(200_000), 200_000)
      await first.write(content.subarray(0, 200_000), 0)
      const second = await sink.create(personal, 'root', 3, never)
      await second.write(Buffer.from('abc'), 0)
      expect(await isThere(directory)).toBe(false)
      await sink.commit()
    }
    expect((await readFile(image())).equals(content)).toBe(true)
    expect(await readFile(image(personal, 'root'), 'utf8')).toBe('abc')
    expect((await stat(image())).mode & 0o777).toBe(0o600)
    expect(await readdir(parent)).toEqual(['restored'])
  })

  test('read as zeros where nothing was written, and take no room there', async () => {
    await using sink = localVolumeSink(directory)
    const volume = await sink.create(work, 'private', 64 * 1024 * 1024, never)
    await volume.write(Buffer.from('end'), 64 * 1024 * 1024 - 3)
    await sink.commit()
    const { size, blocks } = await stat(image())
    expect(size).toBe(64 * 1024 * 1024)
    expect(blocks * 512).toBeLessThan(1024 * 1024)
  })

  test('disposed of without a commit leave nothing', async () => {
    {
      await using sink = localVolumeSink(directory)
      await (await sink.create(work, 'private', 1, never)).write(Buffer.from('x'), 0)
    }
    expect(await readdir(parent)).toEqual([])
  })

  test('never take the place of what is there, not even at the commit', async () => {
    await using sink = localVolumeSink(directory)
    await sink.create(work, 'private', 1, never)
    await expect(sink.create(work, 'private', 1, never)).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    await mkdir(directory)
    await expect(sink.commit()).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    await expect(localVolumeSink(directory).create(work, 'root', 1, never)).rejects.toMatchObject({
      code: 'VOLUME_EXISTS',
    })
    expect(await readdir(directory)).toEqual([])
  })

  test('are all withheld when one of them cannot be finished', async () => {
    {
      await using sink = localVolumeSink(directory)
      await sink.create(work, 'private', 1, never)
      await sink.create(personal, 'private', 1, never)
      // What stands in for a disk that fails: one of the directories is gone.
      await rm(path.join(parent, '.restore-restored', personal), { recursive: true })
      await expect(sink.commit()).rejects.toMatchObject({ code: 'VOLUME_WRITE' })
    }
    expect(await readdir(parent)).toEqual([])
  })

  test.each([
    [-1, 1],
    [content.byteLength, 1],
    [content.byteLength - 1, 2],
  ])('refuse bytes outside themselves: %i, %i', async (offset, length) => {
    await using sink = localVolumeSink(directory)
    const volume = await sink.create(work, 'private', content.byteLength, never)
    await expect(volume.write(Buffer.alloc(length), offset)).rejects.toMatchObject({ code: 'VOLUME_WRITE' })
  })

  test.each(['../private', 'a/b', '', '.hidden'])('refuse the name %j', async name => {
    const created = localVolumeSink(directory).create(work, name, 1, never)
    await expect(created).rejects.toMatchObject({ code: 'VM_INVALID' })
  })

  test('of a process that was killed are swept, and nothing else is', async () => {
    await mkdir(path.join(parent, 'kept'))
    await writeFile(path.join(parent, 'kept/file'), 'kept')
    const module = path.resolve('src/host/local/volume-sink.ts')
    const program = `import { localVolumeSink } from ${JSON.stringify(module)}
      const sink = localVolumeSink(${JSON.stringify(directory)})
      const volume = await sink.create('work', 'private', 6, new AbortController().signal)
      await volume.write(Buffer.from('secret'), 0)
      console.log('written')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect((await readdir(parent)).sort()).toEqual(['.restore-restored', 'kept'])
    expect(await sweepUnfinished(parent)).toEqual(['.restore-restored'])
    expect(await readdir(parent)).toEqual(['kept'])
    expect(await sweepUnfinished(parent)).toEqual([])
  })
})
