import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { MiB } from '../../../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../../../src/base/environment.ts'
import { createLog, silentLog } from '../../../src/base/log.ts'
import { parseVmName, parseVolumeName } from '../../../src/base/names.ts'
import type { RestoredVolume } from '../../../src/host/drill-rooms.ts'
import { type BootOptions, defaultQemu, localBootMachines } from '../../../src/host/local/boot-machine.ts'
import { findWalls } from '../../../src/host/local/bubblewrap.ts'
import { overwriting, resetting, saying } from '../../support/boot-sectors.ts'
import { maySkip } from '../../support/may-skip.ts'
import { scratch } from '../../support/scratch.ts'
import { product } from './product.ts'

const cache = path.join(product.directory, '.cache/boot-machine')
const kernel = { kernel: path.join(cache, 'vmlinuz'), initramfs: path.join(cache, 'initramfs.gz') }
const walls = await findWalls(product, silentLog)
const isMissing = !walls.bubblewrap || !existsSync(defaultQemu) || !existsSync(kernel.initramfs)

const never = new AbortController().signal
const vm = parseVmName('work')
const marker = 'all is well'
const limits = { memoryBytes: 128 * MiB, writtenBytesMax: 64 * MiB, saidBytesMax: MiB }
const rule = { vm, marker, secondsMax: 80 }

const directory = scratch('boot')
const run = path.join(directory, 'run')
const lines: string[] = []
let count = 0

beforeAll(() => mkdir(run))

/** Groups that the machines of these tests were bound with: others may start some at the same time. */
const groups = async () => {
  const places = ['/sys/fs/cgroup', '/sys/fs/cgroup/memory']
  const names = await Promise.all(places.map(place => readdir(place).catch(() => [])))
  return names.flat().filter(name => {
    const started = /boot-[0-9a-f]{16}/.exec(name)?.[0]
    return started !== undefined && lines.some(line => line.includes(started))
  })
}

/** Machines whose command line is known by the names of their disks inside, and their walls. */
const processes = async () => {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const line = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
    if (line.includes(run)) found.push(line)
  }
  return found
}

/** Where a name is, so are its sockets, its walls and its limits. */
afterEach(async () => {
  expect(await readdir(run)).toEqual([])
  expect(await processes()).toEqual([])
  expect(await groups()).toEqual([])
  expect(await readFile('/proc/self/mounts', 'utf8')).not.toContain(run)
})

function machines(change: Partial<BootOptions> = {}) {
  const log = createLog('test', line => lines.push(line))
  const environment = { clock: systemClock, entropy: systemEntropy }
  return localBootMachines({ walls, product, directory: run, kernel, log, ...environment, ...change })
}

/** Tries KVM once for all of them. */
const usual = machines()

async function volumeOf(bytes: Uint8Array | string, name = 'root', length?: number): Promise<RestoredVolume> {
  count += 1
  const file = path.join(directory, `${count}.img`)
  await (typeof bytes === 'string' ? copyFile(bytes, file) : writeFile(file, bytes))
  if (length !== undefined) await truncate(file, length)
  const whole = await readFile(file)
  return { vm, volume: parseVolumeName(name), path: file, bytes: whole.byteLength }
}

/** An ext4 file system, with busybox and what `init` says as its first process. */
async function rootOf(init: string | null): Promise<RestoredVolume> {
  count += 1
  const tree = path.join(directory, `tree-${count}`)
  await mkdir(path.join(tree, 'bin'), { recursive: true })
  await mkdir(path.join(tree, 'sbin'))
  await copyFile('/bin/busybox', path.join(tree, 'bin/busybox'))
  await symlink('busybox', path.join(tree, 'bin/sh'))
  if (init !== null) {
    await writeFile(
      path.join(tree, 'sbin/init'),
      `#!/bin/sh\n/bin/busybox --install -s /bin\nPATH=/bin\n${init}`,
    )
    await chmod(path.join(tree, 'sbin/init'), 0o755)
  }
  const image = path.join(directory, `tree-${count}.img`)
  execFileSync('/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', tree, image, '32M'])
  return volumeOf(image)
}

const digest = async ({ path }: RestoredVolume) =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex')

describe.skipIf(maySkip(isMissing))('a VM without a boot loader', () => {
  const init = `
    [ "$(ls /sys/class/net)" = lo ] || echo 'there is a network' >/dev/console
    [ "$(dd if=/dev/xvdb bs=7 count=1 2>/dev/null)" = private ] && touch /written && echo changed >/dev/xvdb && sync &&
      modprobe vfat && port=$(grep -l '^strongroom.drill$' /sys/class/virtio-ports/*/name) && port=\${port%/name} &&
      [ "$(ls /sys/class/net)" = lo ] && echo 'all is well' >/dev/\${port##*/}
    sleep 1000`

  test('starts with all its disks, may write to them, has no network, and says the word on the channel', async () => {
    const volumes = [
      await volumeOf(new TextEncoder().encode('private'), 'private', MiB),
      await rootOf(init),
      { ...(await volumeOf(new Uint8Array(512))), vm: parseVmName('other') },
    ]
    // The root is a volume by that name, or else the first: here it is the second, and Linux finds the disks in their order.
    const swapped = [volumes[1], volumes[0], volumes[2]] as readonly RestoredVolume[]
    const before = await Promise.all(swapped.map(digest))
    const verdict = await usual.boot(rule, swapped, limits, never)
    expect(verdict, `${verdict.message} ${lines.join('')}`).toMatchObject({ level: 'boot', result: 'passed' })
    expect(await Promise.all(swapped.map(digest))).toEqual(before)
  })

  test('has failed when nothing in it can be started', async () => {
    const verdict = await usual.boot(rule, [await rootOf(null)], limits, never)
    expect(verdict).toMatchObject({ result: 'failed', message: expect.stringContaining('init') })
  })
})

describe.skipIf(maySkip(isMissing))('a VM with a boot loader', () => {
  const boot = async (sector: Uint8Array, change: object = {}, signal = never) =>
    usual.boot(
      { ...rule, ...change },
      [await volumeOf(sector, 'root', 8 * MiB)],
      { ...limits, ...change },
      signal,
    )

  test('says the word on its console, in whatever colours', async () => {
    const verdict = await boot(saying('now \x1b[1;32mall is\x1b[0m well\r\n', 'once'))
    expect(verdict, lines.join('')).toMatchObject({ result: 'passed' })
  })

  test('that says too much is suspicious, also without the end of a line', async () => {
    const verdict = await boot(saying('\x1b]A', 'for ever'), { saidBytesMax: 10_000 })
    expect(verdict).toMatchObject({ result: 'suspicious', message: expect.stringContaining('said more') })
  })

  test('that writes too much is suspicious', async () => {
    const verdict = await boot(overwriting, { writtenBytesMax: 2 * MiB })
    expect(verdict, lines.join('')).toMatchObject({
      result: 'suspicious',
      message: expect.stringContaining('wrote more'),
    })
  })

  test('that starts anew has failed', async () => {
    const verdict = await boot(resetting)
    expect(verdict, lines.join('')).toMatchObject({
      result: 'failed',
      message: expect.stringContaining('anew'),
    })
  })

  test('that does not say the word in its time has failed', async () => {
    const verdict = await boot(saying('all is lost\r\n', 'once'), { secondsMax: 1 })
    expect(verdict).toMatchObject({ result: 'failed', message: expect.stringContaining('time') })
  })

  test('is gone when the drill is cancelled', async () => {
    const abort = new AbortController()
    lines.length = 0
    const booting = boot(saying('all is lost\r\n', 'once'), {}, abort.signal)
    // Not the one that KVM was tried with, which may end by itself.
    await expect.poll(() => lines.join(''), { timeout: 60_000 }).toContain('starting a virtual machine')
    await expect.poll(async () => (await processes()).length, { timeout: 60_000 }).toBeGreaterThan(0)
    abort.abort(new Error('cancelled'))
    await expect(booting).rejects.toThrow('cancelled')
  })
})

describe.skipIf(maySkip(isMissing))('nothing is said of a VM', () => {
  const disk = () => volumeOf(new Uint8Array(MiB))

  test('when this machine cannot start one', async () => {
    const sealed = { vm, volume: parseVolumeName('root') }
    const unable: readonly [Partial<BootOptions>, string][] = [
      [{ qemu: '/nonexistent/qemu' }, '/nonexistent/qemu'],
      [{ kernel: null }, 'no kernel'],
      [{ kernel: { ...kernel, initramfs: '/nonexistent/initramfs' } }, '/nonexistent/initramfs'],
      [{ walls: { bubblewrap: false, disableUserns: false } }, 'wall'],
      // It is there, and is no QEMU.
      [{ qemu: '/bin/busybox' }, 'did not start'],
    ]
    for (const [change, words] of unable) {
      const booting = machines(change).boot(rule, [{ ...(await disk()), ...sealed }], limits, never)
      await expect(booting).rejects.toMatchObject({
        code: 'BOOT_UNAVAILABLE',
        message: expect.stringContaining(words),
      })
    }
  })

  test('when its volumes are not there in full', async () => {
    const volume = await disk()
    const short = { ...volume, bytes: volume.bytes + 1 }
    await expect(usual.boot(rule, [short], limits, never)).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
    })
    await rm(volume.path)
    await symlink('/dev/zero', volume.path)
    await expect(usual.boot(rule, [volume], limits, never)).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
    })
  })

  test('but that it failed when the snapshot has no volume of it', async () => {
    expect(await usual.boot(rule, [], limits, never)).toMatchObject({ result: 'failed' })
  })
})
