import { execFile } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, open, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe } from 'vitest'
import { systemEnvironment } from '../../../src/base/environment.ts'
import { silentLog } from '../../../src/base/log.ts'
import { parseVmName } from '../../../src/base/names.ts'
import { systemCommands } from '../../../src/host/commands.ts'
import { localVolumes } from '../../../src/host/local/volumes.ts'
import { describeVolumeSource, type VolumesUnderTest } from '../../contract/volume-source.ts'
import { type FileSystem, LoopMount } from '../../support/loop-mount.ts'

const vm = parseVmName('work')
const bytes = 8 * 1024 * 1024
const run = promisify(execFile)

async function localUnderTest(parent: string, tells: VolumesUnderTest['tells']): Promise<VolumesUnderTest> {
  const directory = await mkdtemp(path.join(parent, 'volumes-'))
  const image = path.join(directory, 'machine', vm, 'private.img')
  await mkdir(path.dirname(image), { recursive: true })
  for (const name of ['private', 'other']) {
    await writeFile(path.join(path.dirname(image), `${name}.img`), '')
    await truncate(path.join(path.dirname(image), `${name}.img`), bytes)
  }
  const description = {
    class: 'AppVM',
    tags: [],
    running: false,
    includeInBackups: true,
    volumes: { private: 'private.img', other: 'other.img' },
  }
  await writeFile(path.join(path.dirname(image), 'vm.json'), JSON.stringify(description))
  const { clock, entropy } = systemEnvironment
  let later = 0
  return {
    vm,
    bytes,
    rounds: 10,
    tells,
    source: localVolumes({
      root: path.join(directory, 'machine'),
      copies: path.join(directory, 'copies'),
      clock: { ...clock, now: () => new Date(clock.now().getTime() + later) },
      entropy,
      commands: systemCommands,
      boot: 'this boot',
      log: silentLog,
    }),
    live: {
      async write(part, offset) {
        const handle = await open(image, 'r+')
        await handle.write(part, 0, part.byteLength, offset)
        await handle.close()
      },
      async punch(offset, length) {
        await run('fallocate', ['-p', '-o', `${offset}`, '-l', `${length}`, image])
      },
      resize: size => truncate(image, size),
      async replace() {
        await copyFile(image, `${image}.new`)
        await rename(`${image}.new`, image)
      },
    },
    async rest() {
      later += 3_600_000
    },
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true })
    },
  }
}

const knownTypes = new Set([0xef53, 0x58465342, 0x9123683e])
const sharingTypes = new Set([0x58465342, 0x9123683e])
const { type } = statfsSync(tmpdir())
describeVolumeSource('the local host on this file system', () =>
  localUnderTest(tmpdir(), {
    holes: knownTypes.has(type),
    changes: sharingTypes.has(type),
    rest: knownTypes.has(type),
  }),
)

const everything = { holes: true, changes: true, rest: true }
const fileSystems: readonly (readonly [string, VolumesUnderTest['tells'], FileSystem, ...string[]])[] = [
  ['ext4', { ...everything, changes: false }, 'ext4'],
  // Times in full seconds prove nothing.
  ['ext4 without room for nanoseconds', { holes: true, changes: false, rest: false }, 'ext4', '-I', '128'],
  // Mapped block by block, as ext2 did: such maps are not believed.
  ['ext4 without extents', { holes: false, changes: false, rest: true }, 'ext4', '-O', '^extents,^64bit'],
  ['XFS', everything, 'xfs'],
  ['btrfs', everything, 'btrfs'],
]
for (const [title, tells, kind, ...options] of fileSystems)
  describe.skipIf(!LoopMount.isPossible(kind))('mounted from an image, which needs root', () => {
    const mount = new LoopMount(kind, ...options)
    afterAll(() => mount[Symbol.dispose]())
    describeVolumeSource(`the local host on ${title}`, () => localUnderTest(mount.directory, tells))
  })
