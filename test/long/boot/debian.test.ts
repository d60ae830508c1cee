import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { GiB, MiB } from '../../../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../../../src/base/environment.ts'
import { createLog, silentLog } from '../../../src/base/log.ts'
import { parseVmName, parseVolumeName } from '../../../src/base/names.ts'
import { defaultQemu, localBootMachines } from '../../../src/host/local/boot-machine.ts'
import { findWalls } from '../../../src/host/local/bubblewrap.ts'
import { product } from '../../host/local/product.ts'
import { maySkip } from '../../support/may-skip.ts'
import { scratch } from '../../support/scratch.ts'

/*
 * Debian as it comes: systemd, a file system of each kind that the initramfs knows, with and without partitions. Made with
 * mmdebstrap, which needs root and Debian's mirror; `sh scripts/setup.sh long` installs it.
 */

const cache = path.join(product.directory, '.cache/boot-machine')
const kernel = { kernel: path.join(cache, 'vmlinuz'), initramfs: path.join(cache, 'initramfs.gz') }
const walls = await findWalls(product, silentLog)
const needed = [defaultQemu, kernel.initramfs, '/usr/bin/mmdebstrap']
const isMissing = !walls.bubblewrap || !needed.every(existsSync)
if (isMissing) console.warn('SKIPPED: Debian was not started: run `sh scripts/setup.sh long`')

const never = new AbortController().signal
const vm = parseVmName('work')
const limits = { memoryBytes: 512 * MiB, writtenBytesMax: 256 * MiB, saidBytesMax: 16 * MiB }
const millisecondsMax = 900_000

/** What the how-to tells the owner of a VM to put into it. */
const howTo = readFileSync(path.join(product.directory, 'docs/how-to/drills.md'), 'utf8')
const [, unit = ''] = /^```ini\n(.*?)^```$/ms.exec(howTo) ?? []

const directory = scratch('debian')
const at = (name: string) => path.join(directory, name)
const lines: string[] = []

function boot(image: string, marker: string, secondsMax = 600) {
  const machines = localBootMachines({
    walls,
    product,
    directory,
    kernel,
    clock: systemClock,
    entropy: systemEntropy,
    log: createLog('test', line => lines.push(line)),
  })
  const volume = { vm, volume: parseVolumeName('root'), path: at(image), bytes: statSync(at(image)).size }
  return machines.boot({ vm, marker, secondsMax }, [volume], limits, never)
}

async function digest(image: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(at(image)), hash)
  return hash.digest('hex')
}

describe.skipIf(maySkip(isMissing))('Debian', () => {
  beforeAll(() => {
    const packages = '--include=systemd-sysv,udev,kmod,dbus'
    execFileSync('mmdebstrap', ['--variant=minbase', packages, 'bookworm', at('tree')], { stdio: 'pipe' })
    writeFileSync(at('tree/etc/hostname'), 'work\n')
    const units = at('tree/etc/systemd/system')
    writeFileSync(path.join(units, 'strongroom-drill.service'), unit)
    mkdirSync(path.join(units, 'graphical.target.wants'), { recursive: true })
    execFileSync('ln', ['-s', '../strongroom-drill.service', path.join(units, 'graphical.target.wants')])
  }, millisecondsMax)

  test('says on the channel that it is well, and is as before', { timeout: millisecondsMax }, async () => {
    execFileSync('/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', at('tree'), at('root.img'), '700M'])
    const before = await digest('root.img')
    const verdict = await boot('root.img', 'VM is well')
    console.log('from its start to its word:', verdict.milliseconds, 'ms')
    expect(verdict, `${verdict.message} ${lines.join('')}`).toMatchObject({ result: 'passed' })
    expect(await digest('root.img')).toBe(before)
  })

  test('starts from a partition, and asks on its console who is there', {
    timeout: millisecondsMax,
  }, async () => {
    // As Qubes OS lays a root volume out: something else first.
    const start = 64 * MiB
    execFileSync('truncate', ['-s', String(GiB), at('disk.img')])
    execFileSync('/sbin/sfdisk', ['-q', at('disk.img')], {
      input: 'label: gpt\n1M,63M,U\n64M,,L\n',
    })
    execFileSync(
      'dd',
      [`if=${at('root.img')}`, `of=${at('disk.img')}`, 'bs=1M', `seek=${start / MiB}`, 'conv=notrunc,sparse'],
      {
        stdio: 'pipe',
      },
    )
    const verdict = await boot('disk.img', 'work login:')
    expect(verdict, `${verdict.message} ${lines.join('')}`).toMatchObject({ result: 'passed' })
  })

  test('starts from btrfs', { timeout: millisecondsMax }, async () => {
    execFileSync('truncate', ['-s', '900M', at('btrfs.img')])
    execFileSync('/sbin/mkfs.btrfs', ['-q', '--rootdir', at('tree'), at('btrfs.img')], { stdio: 'pipe' })
    const verdict = await boot('btrfs.img', 'VM is well')
    expect(verdict, `${verdict.message} ${lines.join('')}`).toMatchObject({ result: 'passed' })
    rmSync(at('btrfs.img'))
  })

  test('starts from XFS', { timeout: millisecondsMax }, async () => {
    // mkfs.xfs fills a file system by a list; all of Debian is too much for one by hand.
    const init = at('init')
    writeFileSync(init, '#!/bin/sh\necho VM is well\nexec /bin/busybox sleep 1000\n')
    writeFileSync(
      at('list'),
      `/nowhere\n0 0\nd--755 0 0\nbin d--755 0 0\nbusybox ---755 0 0 /bin/busybox\nsh l--777 0 0 busybox\n$\nsbin d--755 0 0\ninit ---755 0 0 ${init}\n$\n$\n`,
    )
    execFileSync('truncate', ['-s', '400M', at('xfs.img')])
    execFileSync('/sbin/mkfs.xfs', ['-q', '-p', at('list'), at('xfs.img')], { stdio: 'pipe' })
    const verdict = await boot('xfs.img', 'VM is well')
    expect(verdict, `${verdict.message} ${lines.join('')}`).toMatchObject({ result: 'passed' })
  })

  test('without an init has failed', { timeout: millisecondsMax }, async () => {
    for (const file of ['tree/sbin/init', 'tree/usr/lib/systemd/systemd']) rmSync(at(file))
    execFileSync('/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', at('tree'), at('bare.img'), '700M'])
    const verdict = await boot('bare.img', 'VM is well')
    expect(verdict).toMatchObject({ result: 'failed', message: expect.stringContaining('init') })
  })
})
