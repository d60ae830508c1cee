import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/base/environment.ts'
import { createLog } from '../../../src/base/log.ts'
import { parseVmName } from '../../../src/base/names.ts'
import { systemCommands } from '../../../src/host/commands.ts'
import { type LocalVolumesOptions, localVolumes } from '../../../src/host/local/volumes.ts'
import type { VolumeState } from '../../../src/host/volumes.ts'
import {
  checkedExtents,
  contentOf,
  filled,
  never,
  unchangedBytes,
  volumeOf,
} from '../../contract/volume-source.ts'
import { type FileSystem, LoopMount } from '../../support/loop-mount.ts'
import { recordedCommands } from '../../support/recorded-commands.ts'

/* What only a real file system shows, and what is left on the disk. */

const work = parseVmName('work')
const bytes = 4 * 1024 * 1024
const hour = 3_600_000

for (const kind of ['ext4', 'xfs', 'btrfs'] as const)
  describe.skipIf(!LoopMount.isPossible(kind))(`a frozen file on ${kind}, mounted from an image`, () => {
    const mount = new LoopMount(kind)
    afterAll(() => mount[Symbol.dispose]())
    describeFrozenFile(kind, mount)
  })

function describeFrozenFile(kind: FileSystem, mount: LoopMount): void {
  let [machine, copies, image] = ['', '', '']
  let later = 0
  let lines: string[] = []
  beforeEach(async () => {
    machine = path.join(mount.directory, 'machine')
    copies = path.join(mount.directory, 'copies')
    image = path.join(machine, work, 'private.img')
    await mkdir(path.dirname(image), { recursive: true })
    await writeFile(image, '')
    await truncate(image, bytes)
    await describeVm({ private: 'private.img' })
    lines = []
    later = 0
  })
  afterEach(async () => {
    for (const name of [machine, copies]) await rm(name, { recursive: true, force: true })
  })

  async function describeVm(volumes: Record<string, string>): Promise<void> {
    const vm = { class: 'AppVM', tags: [], running: false, includeInBackups: true, volumes }
    await writeFile(path.join(machine, work, 'vm.json'), JSON.stringify(vm))
  }

  const { clock, entropy } = systemEnvironment
  const sourceOf = (other: Partial<LocalVolumesOptions> = {}) =>
    localVolumes({
      root: machine,
      copies,
      entropy,
      clock: { ...clock, now: () => new Date(clock.now().getTime() + later) },
      commands: systemCommands,
      boot: 'a boot',
      log: createLog('dom0', line => lines.push(line)),
      ...other,
    })
  async function backup(source = sourceOf()): Promise<{ state: VolumeState | null; content: Buffer }> {
    const frozen = await source.freeze(work, never)
    const volume = volumeOf(frozen)
    const { state } = volume
    const content = await contentOf(volume)
    await using kept = frozen.keep(['private'])
    await frozen[Symbol.asyncDispose]()
    await kept.commit()
    return { state, content }
  }
  const copiesOf = async () => (await readdir(path.join(copies, work)).catch(() => [])).sort()

  test('shows data that is only in memory yet, over room that was reserved', async () => {
    expect(spawnSync('fallocate', ['-l', String(bytes), image]).status).toBe(0)
    const writer = await open(image, 'r+')
    for (const at of [0, 5, 77, 512, 1000]) {
      await writer.write(filled(4096, at), 0, 4096, at * 4096)
      await using frozen = await sourceOf().freeze(work, never)
      await checkedExtents(volumeOf(frozen), null)
    }
    await writer.close()
  })

  test('does not take for unchanged what is stored through a mapping', async () => {
    await writeFile(image, filled(bytes, 1))
    // Stores at once, and again for each line.
    const program = `import mmap,sys
f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0)
for n in range(1,9):
  m[5000]=n; print(n,flush=True); sys.stdin.readline()`
    const writer = spawn('python3', ['-c', program, image], { stdio: ['pipe', 'pipe', 'inherit'] })
    const ended = once(writer, 'exit')
    try {
      await once(writer.stdout, 'data')
      for (let store = 0; store < 4; store++) {
        later += hour
        const { state, content } = await backup()
        if (kind === 'ext4') expect(state).not.toBeNull()
        writer.stdin.write('\n')
        await once(writer.stdout, 'data')
        await using frozen = await sourceOf().freeze(work, never)
        await checkedExtents(volumeOf(frozen), state, content)
      }
    } finally {
      writer.kill()
      await ended
    }
  })

  test('is not taken for unchanged by its times if the machine has started anew since', async () => {
    await writeFile(image, filled(bytes, 1))
    later += hour
    const { state, content } = await backup()
    const anew = sourceOf({ copies: path.join(mount.directory, 'elsewhere'), boot: 'the next boot' })
    await using frozen = await anew.freeze(work, never)
    expect(unchangedBytes(await checkedExtents(volumeOf(frozen), state, content))).toBe(0)
  })

  test('is read in full, with a word to the log, when filefrag cannot be believed', async () => {
    const commands = recordedCommands(() => 'Filesystem type is: strange\n')
    await using frozen = await sourceOf({ commands }).freeze(work, never)
    expect(await checkedExtents(volumeOf(frozen), null)).toEqual([{ kind: 'data', offset: 0, length: bytes }])
    expect(lines.map(line => JSON.parse(line))).toMatchObject([
      { level: 'warn', vm: 'work', volume: 'private', error: { code: 'VOLUME_MAP' } },
    ])
  })

  test('leaves nothing in the directory of its VM', async () => {
    await backup()
    expect((await readdir(path.dirname(image))).sort()).toEqual(['private.img', 'vm.json'])
  })

  if (kind === 'ext4')
    test('leaves no copy where there can be none', async () => {
      await backup()
      expect(await copiesOf()).toEqual([])
    })
  else describeCopies()

  function describeCopies(): void {
    test('leaves one copy, of the last committed backup', async () => {
      const source = sourceOf()
      const first = await backup(source)
      const [kept] = await copiesOf()
      expect(await copiesOf()).toEqual([expect.stringMatching(/^private-[0-9a-f]{16}\.base$/)])
      {
        await using frozen = await source.freeze(work, never)
        expect(await copiesOf()).toHaveLength(2)
        await using _ = frozen.keep(['private'])
      }
      expect(await copiesOf()).toEqual([kept])
      await backup(source)
      expect(await copiesOf()).toHaveLength(1)
      expect(await copiesOf()).not.toEqual([kept])
      // The first state stands on nothing any more.
      await using frozen = await source.freeze(work, never)
      const plain = await checkedExtents(volumeOf(frozen), null)
      expect(await checkedExtents(volumeOf(frozen), first.state)).toEqual(plain)
    })

    test('sweeps what a crash left, and copies of volumes that are no more', async () => {
      await describeVm({ private: 'private.img', gone: 'private.img' })
      const crashed = await sourceOf().freeze(work, never)
      await using kept = crashed.keep(['gone'])
      await kept.commit()
      await describeVm({ private: 'private.img' })
      expect(await copiesOf()).toHaveLength(2)
      await backup()
      expect(await copiesOf()).toEqual([expect.stringMatching(/^private-.*\.base$/)])
      await crashed[Symbol.asyncDispose]()
    })

    test('keeps copies of a VM whose description cannot be read just now', async () => {
      await backup()
      const kept = await copiesOf()
      await mkdir(path.join(machine, 'personal'))
      await writeFile(path.join(machine, work, 'vm.json'), 'damaged')
      await expect(sourceOf().freeze(work, never)).rejects.toMatchObject({ code: 'VM_INVALID' })
      expect(await copiesOf()).toEqual(kept)
    })

    test.each<[string, (file: string) => Promise<void>]>([
      [
        'written to',
        async file => {
          const handle = await open(file, 'r+')
          await handle.write(Buffer.from('x'), 0, 1, 0)
          await handle.close()
        },
      ],
      [
        'replaced by a duplicate',
        async file => {
          spawnSync('cp', ['--reflink=always', '--preserve=all', file, `${file}.new`])
          spawnSync('mv', [`${file}.new`, file])
        },
      ],
      ['removed', file => rm(file)],
    ])('does not compare with a copy that was %s', async (_, damage) => {
      await writeFile(image, filled(bytes, 1))
      const { state } = await backup()
      const [kept = ''] = await copiesOf()
      await damage(path.join(copies, work, kept))
      await using frozen = await sourceOf().freeze(work, never)
      const extents = await checkedExtents(volumeOf(frozen), state)
      expect(unchangedBytes(extents)).toBe(0)
    })

    test('is compared across a start of the machine, if there is a copy', async () => {
      await writeFile(image, filled(bytes, 1))
      const { state, content } = await backup()
      await using frozen = await sourceOf({ boot: 'the next boot' }).freeze(work, never)
      expect(await checkedExtents(volumeOf(frozen), state, content)).toEqual([
        { kind: 'unchanged', offset: 0, length: bytes },
      ])
    })
  }
}
