import { execFile } from 'node:child_process'
import { mkdtemp, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { systemEntropy } from '../../../src/base/environment.ts'
import { createLog } from '../../../src/base/log.ts'
import { parseVmName } from '../../../src/base/names.ts'
import { systemCommands } from '../../../src/host/commands.ts'
import { thinVolumes } from '../../../src/host/lvm/volumes.ts'
import { describeVolumeSource, type VolumesUnderTest } from '../../contract/volume-source.ts'

/* Runs inside the kernel that thin-pool.test.ts starts, on a pool like that of Qubes OS. */

const vm = parseVmName('work')
const bytes = 8 * 1024 * 1024
const block = 64 * 1024
const group = 'qubes_dom0'
const run = promisify(execFile)
const device = `/dev/${group}/vm-work-private`

async function thinUnderTest(): Promise<VolumesUnderTest> {
  for (const name of ['private', 'other'])
    await run('lvcreate', ['-y', '-kn', '-T', `${group}/vm-pool`, '-V', `${bytes}b`, '-n', `vm-work-${name}`])
  const directory = await mkdtemp(path.join(tmpdir(), 'thin-'))
  return {
    vm,
    bytes,
    rounds: 4,
    tells: { holes: true, changes: true, rest: true },
    source: thinVolumes({
      places: async name =>
        name === vm
          ? ['private', 'other'].map(one => ({ name: one, group, volume: `vm-work-${one}` }))
          : null,
      commands: systemCommands,
      entropy: systemEntropy,
      log: createLog('dom0'),
      directory,
    }),
    live: {
      async write(part, offset) {
        const handle = await open(device, 'r+')
        await handle.write(part, 0, part.byteLength, offset)
        await handle.close()
      },
      async punch(offset, length) {
        // A pool gives up whole blocks only: what is less is written over.
        const end = offset + length
        const [first, last] = [Math.ceil(offset / block) * block, Math.floor(end / block) * block]
        const zeros = async (from: number, to: number) => {
          if (to > from) await this.write(Buffer.alloc(to - from), from)
        }
        if (first >= last) return zeros(offset, end)
        await zeros(offset, first)
        await zeros(last, end)
        await run('blkdiscard', ['-o', `${first}`, '-l', `${last - first}`, device])
      },
      async resize(size) {
        await run('lvresize', ['-f', '-L', `${size}b`, `${group}/vm-work-private`])
      },
      async replace() {
        // As qubesd does when a VM stops: the snapshot that it ran on becomes the volume.
        const name = `${group}/vm-work-private`
        await run('lvcreate', ['-y', '-kn', '-ay', '-s', name, '-n', 'vm-work-private-snap'])
        await run('lvrename', [name, `${name}-1795425875-back`])
        await run('lvrename', [`${name}-snap`, name])
        await run('lvremove', ['-f', `${name}-1795425875-back`])
      },
    },
    async rest() {},
    async [Symbol.asyncDispose]() {
      const { stdout } = await run('lvs', ['--noheadings', '-o', 'lv_name', '-S', 'thin_id>0', group])
      for (const name of stdout
        .split('\n')
        .map(line => line.trim())
        .filter(line => line !== ''))
        await run('lvremove', ['-f', `${group}/${name}`])
    },
  }
}

describeVolumeSource('an LVM thin pool', thinUnderTest)
