import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ByteRange } from '../../../src/base/byte-range.ts'
import { parseVmName, type VmName } from '../../../src/base/names.ts'
import { localVolumeSink, type SinkPlaces } from '../../../src/host/local/volume-sink.ts'
import type { NewVolume } from '../../../src/host/volumes.ts'

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
const named = (vm: VmName, volume = 'private', range: ByteRange | null = null) => ({ vm, volume, range })
const newSink = (more: Partial<SinkPlaces> = {}) =>
  localVolumeSink({ directory, beside: path.join(parent, 'beside'), resumable: false, reuse: null, ...more })
const isThere = (file: string) =>
  stat(file).then(
    () => true,
    () => false,
  )

describe('new volumes', () => {
  test('appear whole and all at once at the commit, and not before', async () => {
    {
      await using sink = newSink()
      const first = await sink.create(named(work, 'private'), content.byteLength, never)
      await first.write(content.subarray(200_000), 200_000)
      await first.write(content.subarray(0, 200_000), 0)
      const second = await sink.create(named(personal, 'root'), 3, never)
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
    await using sink = newSink()
    const volume = await sink.create(named(work, 'private'), 64 * 1024 * 1024, never)
    await volume.write(Buffer.from('end'), 64 * 1024 * 1024 - 3)
    await sink.commit()
    const { size, blocks } = await stat(image())
    expect(size).toBe(64 * 1024 * 1024)
    expect(blocks * 512).toBeLessThan(1024 * 1024)
  })

  test('disposed of without a commit leave nothing', async () => {
    {
      await using sink = newSink()
      await (await sink.create(named(work, 'private'), 1, never)).write(Buffer.from('x'), 0)
    }
    expect(await readdir(parent)).toEqual([])
  })

  test('never take the place of what is there, not even at the commit', async () => {
    await using sink = newSink()
    await sink.create(named(work, 'private'), 1, never)
    await expect(sink.create(named(work, 'private'), 1, never)).rejects.toMatchObject({
      code: 'VOLUME_EXISTS',
    })
    await mkdir(directory)
    await expect(sink.commit()).rejects.toMatchObject({ code: 'VOLUME_EXISTS' })
    await expect(newSink().create(named(work, 'root'), 1, never)).rejects.toMatchObject({
      code: 'VOLUME_EXISTS',
    })
    expect(await readdir(directory)).toEqual([])
  })

  test('are all withheld when one of them cannot be finished', async () => {
    {
      await using sink = newSink()
      await sink.create(named(work, 'private'), 1, never)
      await sink.create(named(personal, 'private'), 1, never)
      // What stands in for a disk that fails: one of the directories is gone.
      await rm(path.join(parent, 'beside', personal), { recursive: true })
      await expect(sink.commit()).rejects.toMatchObject({ code: 'VOLUME_WRITE' })
    }
    expect(await readdir(parent)).toEqual([])
  })

  test.each([
    [-1, 1],
    [content.byteLength, 1],
    [content.byteLength - 1, 2],
  ])('refuse bytes outside themselves: %i, %i', async (offset, length) => {
    await using sink = newSink()
    const volume = await sink.create(named(work, 'private'), content.byteLength, never)
    await expect(volume.write(Buffer.alloc(length), offset)).rejects.toMatchObject({ code: 'VOLUME_WRITE' })
  })

  test.each(['../private', 'a/b', '', '.hidden'])('refuse the name %j', async name => {
    const created = newSink().create(named(work, name), 1, never)
    await expect(created).rejects.toMatchObject({ code: 'VM_INVALID' })
  })

  test('of a range are a file of their own beside the volume', async () => {
    await using sink = newSink()
    await (await sink.create(named(work, 'private', { offset: 512, length: 3 }), 3, never)).write(
      Buffer.from('abc'),
      0,
    )
    await sink.create(named(work), 5, never)
    await sink.commit()
    expect((await readdir(path.join(directory, work))).sort()).toEqual(['private.512+3.img', 'private.img'])
    expect(await readFile(path.join(directory, work, 'private.512+3.img'), 'utf8')).toBe('abc')
  })
})

async function reading(read: NewVolume['left'], length: number, offset = 0): Promise<string | null> {
  const into = new Uint8Array(length)
  return (await read?.(into, offset)) ? Buffer.from(into).toString() : null
}

describe('a restore that was interrupted', () => {
  const resumable = { resumable: true }

  /** Ends without a commit, in whatever way. */
  async function interrupted(text = 'secret'): Promise<void> {
    await using sink = newSink(resumable)
    await (await sink.create(named(work), text.length, never)).write(Buffer.from(text), 0)
    expect((await sink.create(named(personal), 3, never)).left).toBeNull()
  }

  test('leaves what the next one is shown, and may keep or write over', async () => {
    await interrupted()
    expect(await readdir(parent)).toEqual(['beside'])
    await using sink = newSink(resumable)
    const volume = await sink.create(named(work), 6, never)
    expect(await reading(volume.left, 6)).toBe('secret')
    expect(await reading(volume.left, 2, 5)).toBeNull()
    await volume.write(Buffer.from('S'), 0)
    await sink.commit()
    expect(await readFile(image(), 'utf8')).toBe('Secret')
    // The other volume is none of this restore's.
    expect(await readdir(directory)).toEqual(['work'])
    expect(await readdir(parent)).toEqual(['restored'])
  })

  test.each([4, 9])('is cut or extended where the volume has %i bytes', async bytes => {
    await interrupted()
    await using sink = newSink(resumable)
    const { left } = await sink.create(named(work), bytes, never)
    expect(await reading(left, bytes)).toBe('secret'.padEnd(bytes, '\0').slice(0, bytes))
  })

  test('of which nothing was written, or that is discarded, leaves nothing', async () => {
    {
      await using sink = newSink(resumable)
      await sink.create(named(work), 6, never)
    }
    expect(await readdir(parent)).toEqual([])
    await interrupted()
    {
      await using sink = newSink(resumable)
      await sink.create(named(work), 6, never)
      await sink.discard()
    }
    expect(await readdir(parent)).toEqual([])
  })

  test('by SIGKILL can be gone on with', async () => {
    const module = path.resolve('src/host/local/volume-sink.ts')
    const places = { directory, beside: path.join(parent, 'beside'), resumable: true, reuse: null }
    const program = `import { localVolumeSink } from ${JSON.stringify(module)}
      const sink = localVolumeSink(${JSON.stringify(places)})
      const name = { vm: 'work', volume: 'private', range: null }
      const volume = await sink.create(name, 6, new AbortController().signal)
      await volume.write(Buffer.from('secret'), 0)
      console.log('written')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(await readdir(parent)).toEqual(['beside'])
    await using sink = newSink(resumable)
    const { left } = await sink.create(named(work), 6, never)
    expect(await reading(left, 6)).toBe('secret')
  })
})

test('an earlier restore is read, and never written', async () => {
  const earlier = path.join(parent, 'earlier')
  await mkdir(path.join(earlier, work), { recursive: true })
  await writeFile(path.join(earlier, work, 'private.img'), 'earlier')
  await using sink = newSink({ reuse: earlier })
  const volume = await sink.create(named(work), 7, never)
  expect(volume.left).toBeNull()
  expect(await reading(volume.reusable, 7)).toBe('earlier')
  await volume.write(Buffer.from('another'), 0)
  expect((await sink.create(named(work, 'root'), 7, never)).reusable).toBeNull()
  expect((await sink.create(named(personal), 7, never)).reusable).toBeNull()
  await sink.commit()
  expect(await readFile(path.join(earlier, work, 'private.img'), 'utf8')).toBe('earlier')
  expect(await readFile(image(), 'utf8')).toBe('another')
})
