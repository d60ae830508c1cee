import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createLog } from '../../src/base/log.ts'
import { parseVmName } from '../../src/base/names.ts'
import { HostError } from '../../src/host/errors.ts'
import { thinVolumes } from '../../src/host/lvm/volumes.ts'
import type { VolumeSource } from '../../src/host/volumes.ts'
import { type Recorded, type RecordedCommands, recordedCommands } from './recorded-commands.ts'

const vectors = path.join(import.meta.dirname, '../vectors/thin-pool')
export const recorded = (name: string) => readFileSync(path.join(vectors, `${name}.txt`), 'utf8')

export const work = parseVmName('work')
export const origin = 'vm-work-private'
export const [snapshotA, snapshotB] = ['aa', 'bb'].map(
  end => `${origin}.strongroom-00000000000000${end}`,
) as [string, string]
export const uuidOfA = 'aeYtfY-12Dp-wd5n-wVy2-oJNN-Nxzl-XDOM9d'
const dmName = (name: string) => `qubes_dom0-${name.replaceAll('-', '--')}`

type Row = Readonly<Record<string, string>>
const rowsOf = (name: string) => JSON.parse(recorded(name)).report[0].lv as Row[]

/**
 * The pool that was recorded, before its second snapshot is made. Each command is answered with what was said to it
 * then, and any other is an error.
 */
export interface RecordedPool extends Disposable {
  readonly commands: RecordedCommands
  /** Rows of lvs; those of ours come and go. */
  rows: Row[]
  /** Where in the metadata a snapshot is held; `null` if none is. */
  held: string | null
  /** Answers by words of the command, in place of what was recorded. */
  readonly instead: Map<string, Recorded | (() => Recorded)>
  readonly lines: string[]
  readonly directory: string
  /** `volume`: the place of the VM's volume, to try others. */
  source(place?: { group: string; volume: string }): VolumeSource
}

export function recordedPool(): RecordedPool {
  const directory = mkdtempSync(path.join(tmpdir(), 'pool-'))
  for (const name of [snapshotA, snapshotB]) {
    writeFileSync(path.join(directory, dmName(name)), 'the device')
    truncateSync(path.join(directory, dmName(name)), 64 * 1024 * 1024)
  }
  const both = rowsOf('lvs-both')
  const rowOf = (name: string) => both.filter(row => row.lv_name === name)
  const pool: RecordedPool = {
    rows: both.filter(row => row.lv_name !== snapshotB),
    held: null,
    instead: new Map(),
    lines: [],
    directory,
    commands: recordedCommands(answer),
    source: ({ group, volume } = { group: 'qubes_dom0', volume: origin }) =>
      thinVolumes({
        places: async vm => (vm === work ? [{ name: 'private', group, volume }] : null),
        commands: pool.commands,
        entropy: { bytes: length => Buffer.alloc(length).fill(0xbb, length - 1) },
        log: createLog('dom0', line => pool.lines.push(line)),
        directory,
        devices: directory,
      }),
    [Symbol.dispose]() {
      rmSync(directory, { recursive: true })
    },
  }
  const tpool = 'qubes_dom0-vm--pool-tpool'
  const thinDelta = (left: number, right: number) =>
    `/usr/sbin/thin_delta --metadata-snap --thin1 ${left} --thin2 ${right} /dev/mapper/qubes_dom0-vm--pool_tmeta`
  const columns = 'lv_name,lv_uuid,lv_size,pool_lv,thin_id,transaction_id,lv_tags'
  const answers: Readonly<Record<string, () => Recorded>> = {
    [`/usr/sbin/lvs --reportformat json --units b --nosuffix -o ${columns} -- qubes_dom0`]: () =>
      JSON.stringify({ report: [{ lv: pool.rows }] }),
    [`/usr/sbin/lvcreate --snapshot --setactivationskip=n --activate=y --permission=r --name=${snapshotB} -- qubes_dom0/${origin}`]:
      () => change([...pool.rows, ...rowOf(snapshotB)]),
    [`/usr/sbin/lvchange --addtag=strongroom-base -- qubes_dom0/${snapshotB}`]: () =>
      change(
        pool.rows.map(row => (row.lv_name === snapshotB ? { ...row, lv_tags: 'strongroom-base' } : row)),
      ),
    [`/usr/sbin/dmsetup table --target thin ${dmName(snapshotA)}`]: () => recorded('table-a'),
    [`/usr/sbin/dmsetup table --target thin ${dmName(snapshotB)}`]: () => recorded('table-b'),
    [`/usr/sbin/dmsetup status --target thin-pool ${tpool}`]: () =>
      pool.held === null
        ? recorded('status-free')
        : recorded('status-held').replace(' 58 ', ` ${pool.held} `),
    [`/usr/sbin/dmsetup message ${tpool} 0 reserve_metadata_snap`]: () => hold('58'),
    [`/usr/sbin/dmsetup message ${tpool} 0 release_metadata_snap`]: () => hold(null),
    '/usr/sbin/thin_delta --version': () => recorded('version'),
    [thinDelta(2, 3)]: () => delta('delta-2-3'),
    [thinDelta(3, 3)]: () => delta('delta-3-3'),
  }
  function answer(line: string): Recorded {
    for (const [words, given] of pool.instead)
      if (line.includes(words)) return typeof given === 'function' ? given() : given
    const removed = /^\/usr\/sbin\/lvremove --force -- qubes_dom0\/(.+)$/.exec(line)?.[1]
    if (removed !== undefined) return change(pool.rows.filter(row => row.lv_name !== removed))
    return answers[line]?.() ?? new HostError('COMMAND_FAILED', `nobody recorded: ${line}`)
  }
  function change(rows: Row[]): Recorded {
    pool.rows = rows
    return ''
  }
  function hold(block: string | null): Recorded {
    if ((pool.held === null) === (block === null))
      return new HostError('COMMAND_FAILED', 'Device or resource busy')
    pool.held = block
    return ''
  }
  function delta(name: string): Recorded {
    return pool.held === null ? new HostError('COMMAND_FAILED', 'no current metadata snap') : recorded(name)
  }
  return pool
}
