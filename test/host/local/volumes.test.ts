import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/base/environment.ts'
import { silentLog } from '../../../src/base/log.ts'
import { parseVmName } from '../../../src/base/names.ts'
import { systemCommands } from '../../../src/host/commands.ts'
import { localVolumes } from '../../../src/host/local/volumes.ts'
import type { Extent, FrozenVm, FrozenVolume } from '../../../src/host/volumes.ts'

const work = parseVmName('work')
const never = new AbortController().signal
const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251))

let root: string
let image: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'volumes-'))
  await mkdir(join(root, work))
  image = join(root, work, 'private.img')
  await writeFile(image, content)
  const vm = {
    class: 'AppVM',
    tags: [],
    running: false,
    includeInBackups: true,
    volumes: { private: 'private.img' },
  }
  await writeFile(join(root, work, 'vm.json'), JSON.stringify(vm))
})
afterEach(() => rm(root, { recursive: true }))

const source = () =>
  localVolumes({
    root,
    copies: join(root, '.copies'),
    ...systemEnvironment,
    commands: systemCommands,
    boot: null,
    log: silentLog,
  })
const freeze = () => source().freeze(work, never)
const thaw = (frozen: FrozenVm) => frozen[Symbol.asyncDispose]()
const volumeOf = ({ volumes: [volume] }: FrozenVm) => {
  if (volume === undefined) throw new Error('no volume')
  return volume
}

async function extentsOf(volume: FrozenVolume): Promise<readonly Extent[]> {
  const extents: Extent[] = []
  for await (const extent of volume.extents(null, never)) extents.push(extent)
  return extents
}

describe('a frozen volume', () => {
  test('is read as it is, and thaws without a trace', async () => {
    const frozen = await freeze()
    const volume = volumeOf(frozen)
    expect(volume).toMatchObject({ name: 'private', bytes: content.byteLength })
    expect((await readFile(volume.path)).equals(content)).toBe(true)
    const extents = await extentsOf(volume)
    expect(extents).toEqual([{ kind: 'data', offset: 0, length: content.byteLength }])
    await thaw(frozen)
    expect((await readdir(join(root, work))).sort()).toEqual(['private.img', 'vm.json'])
  })

  test('has no extents when it is empty', async () => {
    await writeFile(image, '')
    const frozen = await freeze()
    expect(await extentsOf(volumeOf(frozen))).toEqual([])
    await thaw(frozen)
  })

  test.each([
    ['written to', () => appendFile(image, 'more')],
    ['written in place', () => writeFile(image, Buffer.alloc(content.byteLength))],
    [
      'replaced',
      async () => {
        await writeFile(`${image}.new`, content)
        await rename(`${image}.new`, image)
      },
    ],
    ['removed', () => rm(image)],
  ])('that was %s meanwhile is either a copy or reported', async (_, change) => {
    const frozen = await freeze()
    const volume = volumeOf(frozen)
    const isCopy = volume.path !== image
    await change()
    if (isCopy) {
      expect((await readFile(volume.path)).equals(content)).toBe(true)
      await thaw(frozen)
    } else await expect(thaw(frozen)).rejects.toMatchObject({ code: 'VOLUME_CHANGED', kind: 'conflict' })
  })

  test('of a VM or file that is not there is a typed error', async () => {
    await expect(source().freeze(parseVmName('nosuch'), never)).rejects.toMatchObject({ code: 'VM_MISSING' })
    await rm(image)
    await expect(freeze()).rejects.toMatchObject({ code: 'VOLUME_MISSING' })
  })
})
