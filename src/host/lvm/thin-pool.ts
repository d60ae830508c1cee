import { type Command, type Commands, linesOf, textOf } from '../commands.ts'
import { HostError } from '../errors.ts'
import type { Extent } from '../volumes.ts'
import { isLvmName, parseReport, reportBytesMax, reportColumns, type ThinVolume } from './report.ts'
import { readThinDelta, type ThinQuestion, thinExtents } from './thin-delta.ts'

/*
 * The commands of LVM, device-mapper and thin-provisioning-tools that dom0 runs, each here and nowhere else. Names come
 * from `lvs` or from us, in LVM's own grammar, and stand behind `--`.
 */

const millisecondsMax = 5 * 60_000
const shortBytesMax = 64 * 1024
const deltaBytesMax = 1024 ** 3
const lineLengthMax = 500

/**
 * What we name ours: the name of the volume that it was taken of, so that whatever keeps dom0 from looking into VM
 * volumes (Qubes OS: udev rules for `vm-*`) holds for it too.
 */
const ownName = /^(.+)\.strongroom-([0-9a-f]{16})$/
const baseTag = 'strongroom-base'

export class ThinPool {
  readonly group: string
  readonly #commands: Commands
  #trusted: boolean | null = null

  /** Of one volume group. */
  constructor(commands: Commands, group: string) {
    if (!isLvmName(group)) throw new HostError('VOLUME_MISSING', 'not a name of a volume group')
    this.group = group
    this.#commands = commands
  }

  /** The thin volumes of the group. Throws `COMMAND_FAILED` or `VOLUME_MAP`. */
  async volumes(signal: AbortSignal): Promise<readonly ThinVolume[]> {
    const options = ['--reportformat', 'json', '--units', 'b', '--nosuffix', '-o', reportColumns]
    const command = { ...lvm('lvs', ...options, '--', this.group), outputBytesMax: reportBytesMax }
    return parseReport(await textOf(this.#commands, command, signal))
  }

  /** A read-only snapshot, active, under a name of ours. */
  async snapshot(origin: string, id: string, signal: AbortSignal): Promise<string> {
    const name = `${origin}.strongroom-${id}`
    if (!isLvmName(name))
      throw new HostError('VOLUME_MISSING', 'the name of the volume is too long for a snapshot')
    const options = ['--snapshot', '--setactivationskip=n', '--activate=y', '--permission=r']
    await this.#run(lvm('lvcreate', ...options, `--name=${name}`, '--', `${this.group}/${origin}`), signal)
    return name
  }

  /** From now on it outlives us. */
  async tagBase(name: string, signal: AbortSignal): Promise<void> {
    await this.#run(lvm('lvchange', `--addtag=${baseTag}`, '--', this.#own(name)), signal)
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    await this.#run(lvm('lvremove', '--force', '--', this.#own(name)), signal)
  }

  /**
   * The extents of a thin volume, compared with another of the same pool, or with nothing, by a snapshot of the pool's
   * metadata that is held. Throws `VOLUME_MAP` or `COMMAND_FAILED`.
   */
  async extents(now: ThinVolume, before: ThinVolume | null, signal: AbortSignal): Promise<readonly Extent[]> {
    this.#trusted ??= await this.#findTrusted(signal)
    if (!this.#trusted) throw new HostError('VOLUME_MAP', 'this version of thin_delta has been wrong')
    const left = before ?? now
    for (const volume of new Set([now, left])) await this.#requireOwnZeros(volume, signal)
    const { pool, device, transaction } = now.thin
    // LVM counts a transaction up when it has made a device.
    const question = { left: left.thin.device, right: device, transactionMin: transaction + 1 }
    const output = this.#commands.output(deltaCommand(this.group, pool, question), signal)
    const deltas = readThinDelta(linesOf(output, lineLengthMax), question)
    return thinExtents(deltas, now.bytes, before !== null)
  }

  /** Where in the metadata a snapshot of it is held; `null` if none is. */
  async heldSnapshot(pool: string, signal: AbortSignal): Promise<string | null> {
    const text = await this.#run(dmsetup('status', '--target', 'thin-pool', this.#thinPool(pool)), signal)
    const held = /^0 \d+ thin-pool \d+ \d+\/\d+ \d+\/\d+ (-|\d+) /.exec(text)?.[1]
    if (held === undefined) throw new HostError('VOLUME_MAP', `dmsetup said: ${text.slice(0, 200)}`)
    return held === '-' ? null : held
  }

  async message(
    pool: string,
    message: 'reserve_metadata_snap' | 'release_metadata_snap',
    signal: AbortSignal,
  ) {
    await this.#run(dmsetup('message', this.#thinPool(pool), '0', message), signal)
  }

  /** Where nothing is mapped, a device with an external origin shows that origin instead of zeros. */
  async #requireOwnZeros({ name, thin, bytes }: ThinVolume, signal: AbortSignal): Promise<void> {
    const text = await this.#run(dmsetup('table', '--target', 'thin', deviceName(this.group, name)), signal)
    const [, sectors, device] = /^0 (\d+) thin \d+:\d+ (\d+)\n?$/.exec(text) ?? []
    if (Number(device) !== thin.device || Number(sectors) * 512 !== bytes)
      throw new HostError('VOLUME_MAP', `the device of ${name} is not what LVM says: ${text.slice(0, 200)}`)
  }

  /**
   * Rewritten in Rust, thin_delta took blocks that lie together in the device for blocks that lie together in the pool,
   * and called different ones the same, until 1.0.6 (its commit 2c2093b9). Before 0.7.4 it had other faults.
   */
  async #findTrusted(signal: AbortSignal): Promise<boolean> {
    const text = await this.#run(command('/usr/sbin/thin_delta', '--version'), signal)
    const [, ...numbers] = /^(\d+)\.(\d+)\.(\d+)\n?$/.exec(text) ?? []
    const [major = -1, minor = -1, patch = -1] = numbers.map(Number)
    if (major === 0) return minor === 9 || minor === 8 || (minor === 7 && patch >= 4)
    return major > 1 || minor > 0 || patch >= 6
  }

  #run(command: Command, signal: AbortSignal): Promise<string> {
    return textOf(this.#commands, command, signal)
  }

  #own(name: string): string {
    if (!ownName.test(name) || !isLvmName(name)) throw new Error(`${name} is not ours`)
    return `${this.group}/${name}`
  }

  #thinPool(pool: string): string {
    return `${deviceName(this.group, pool)}-tpool`
  }
}

/** The volume that one of ours was taken of; `null` if it is not ours. */
export function originOf(name: string): string | null {
  return ownName.exec(name)?.[1] ?? null
}

export function isBase({ tags }: ThinVolume): boolean {
  return tags.includes(baseTag)
}

/** Below /dev/mapper. LVM doubles dashes, so that the one between group and volume is found again. */
export function deviceName(group: string, volume: string): string {
  return `${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`
}

function deltaCommand(group: string, pool: string, { left, right }: ThinQuestion): Command {
  const metadata = `/dev/mapper/${deviceName(group, pool)}_tmeta`
  const options = ['--metadata-snap', '--thin1', String(left), '--thin2', String(right), metadata]
  return { ...command('/usr/sbin/thin_delta', ...options), outputBytesMax: deltaBytesMax }
}

function lvm(program: 'lvs' | 'lvcreate' | 'lvchange' | 'lvremove', ...rest: readonly string[]): Command {
  return command(`/usr/sbin/${program}`, ...rest)
}

function dmsetup(...rest: readonly string[]): Command {
  return command('/usr/sbin/dmsetup', ...rest)
}

function command(program: string, ...rest: readonly string[]): Command {
  return { program, arguments: rest, millisecondsMax, outputBytesMax: shortBytesMax }
}
