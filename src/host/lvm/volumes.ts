import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { toHex, utf8 } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'
import type { Commands } from '../commands.ts'
import { HostError } from '../errors.ts'
import { allData } from '../extent-list.ts'
import { type FrozenPart, freezeAll } from '../frozen-vm.ts'
import type { FrozenVolume, VolumeSource, VolumeState } from '../volumes.ts'
import { MetadataSnapshots } from './metadata-snapshot.ts'
import type { ThinVolume } from './report.ts'
import { deviceName, isBase, originOf, ThinPool } from './thin-pool.ts'

/*
 * Volumes in LVM thin pools, where Qubes OS keeps them by default. A thin snapshot is the frozen moment, made at once;
 * the one of the last committed backup is kept, tagged, to see from the pool's metadata which blocks are others now.
 * Only the LVM and device-mapper tools are asked, never the contents of a device.
 */

/** Where a volume of a VM is: what Qubes OS calls `vid`, `qubes_dom0/vm-work-private`. */
export interface ThinVolumePlace {
  /** `private`, `root`. */
  readonly name: string
  readonly group: string
  readonly volume: string
}

export interface ThinVolumesOptions {
  /** `null`: there is no such VM. */
  readonly places: (vm: VmName, signal: AbortSignal) => Promise<readonly ThinVolumePlace[] | null>
  readonly commands: Commands
  readonly entropy: Entropy
  readonly log: Log
  /** dom0's own, for what must be known after a crash. */
  readonly directory: string
  /** Where device-mapper's devices are. */
  readonly devices?: string
}

const markBytesMax = 1000
const parseMark = fields('mark', { uuid: is.string(100) })

export function thinVolumes(options: ThinVolumesOptions): VolumeSource {
  const { places, commands, log } = options
  const snapshots = new MetadataSnapshots(path.join(options.directory, 'metadata-snapshots'))
  const pools = new Map<string, Promise<ThinPool>>()
  const poolOf = (group: string, signal: AbortSignal) => {
    const opened = pools.get(group) ?? openGroup(commands, group, signal)
    pools.set(group, opened)
    opened.catch(() => pools.delete(group))
    return opened
  }
  return {
    async freeze(vm, signal) {
      signal.throwIfAborted()
      const found = await places(vm, signal)
      if (found === null) throw new HostError('VM_MISSING', `there is no VM ${vm}`)
      return freezeAll(
        vm,
        found,
        async place => {
          signal.throwIfAborted()
          const pool = await poolOf(place.group, signal)
          return freezeThin({ ...options, snapshots, pool }, vm, place, signal)
        },
        log,
      )
    },
  }
}

/** Once: removes what a crash left, and kept snapshots of volumes that are no more. */
async function openGroup(commands: Commands, group: string, signal: AbortSignal): Promise<ThinPool> {
  const pool = new ThinPool(commands, group)
  const volumes = await pool.volumes(signal)
  const names = new Set(volumes.map(({ name }) => name))
  for (const volume of volumes) {
    const origin = originOf(volume.name)
    if (origin !== null && !(isBase(volume) && names.has(origin))) await pool.remove(volume.name, signal)
  }
  return pool
}

interface Context extends ThinVolumesOptions {
  readonly snapshots: MetadataSnapshots
  readonly pool: ThinPool
}

async function freezeThin(
  context: Context,
  vm: VmName,
  { name, group, volume }: ThinVolumePlace,
  signal: AbortSignal,
): Promise<FrozenPart> {
  const { pool, entropy, devices = '/dev/mapper' } = context
  const never = new AbortController().signal
  const own = await pool.snapshot(volume, toHex(entropy.bytes(8)), signal)
  const remove = () => pool.remove(own, never)
  try {
    const snapshot = (await pool.volumes(signal)).find(one => one.name === own)
    if (snapshot === undefined)
      throw new HostError('VOLUME_MISSING', `the snapshot of ${volume} is not there`)
    const device = path.join(devices, deviceName(group, own))
    const handle = await open(device, constants.O_RDONLY).catch(cause => {
      throw new HostError('VOLUME_MISSING', `the snapshot of ${volume} cannot be opened`, { cause })
    })
    let [frozen, ours] = [true, true]
    return {
      volume: {
        ...frozenVolume(context, vm, name, volume, snapshot),
        path: device,
      },
      async verify() {},
      take() {
        if (!ours) return null
        ours = false
        return {
          commit: () => keep(pool, own, volume),
          async drop() {
            // LVM removes no device that is open: thawing does it then.
            if (frozen) ours = true
            else await remove()
          },
        }
      },
      async release() {
        await handle.close()
        frozen = false
        if (ours) await remove()
      },
    }
  } catch (error) {
    await remove().catch(() => {})
    throw error
  }
}

/** Makes a snapshot the one to compare with, and removes those before. */
async function keep(pool: ThinPool, own: string, origin: string): Promise<void> {
  const never = new AbortController().signal
  await pool.tagBase(own, never)
  for (const volume of await pool.volumes(never))
    if (originOf(volume.name) === origin && isBase(volume) && volume.name !== own)
      await pool.remove(volume.name, never)
}

function frozenVolume(
  { pool, snapshots, log }: Context,
  vm: VmName,
  name: string,
  origin: string,
  snapshot: ThinVolume,
): Pick<FrozenVolume, 'name' | 'bytes' | 'state' | 'extents'> {
  const source = `lvm-thin ${pool.group}/${origin}`
  return {
    name,
    bytes: snapshot.bytes,
    state: { source, mark: JSON.stringify({ uuid: snapshot.uuid }) },
    async *extents(since, signal) {
      signal.throwIfAborted()
      try {
        const uuid = since?.source === source ? uuidOf(since) : null
        const base = uuid === null ? null : await findBase(pool, origin, snapshot, uuid, signal)
        const find = () => pool.extents(snapshot, base, signal)
        yield* await snapshots.hold(pool, snapshot.thin.pool, find, signal)
      } catch (error) {
        signal.throwIfAborted()
        log.warn('a volume is read in full: what it holds could not be found out', {
          vm,
          volume: name,
          error,
        })
        yield* allData(snapshot.bytes)
      }
    },
  }
}

/** The kept snapshot with this UUID, which LVM gives only once; `null` if it cannot be compared. */
async function findBase(
  pool: ThinPool,
  origin: string,
  now: ThinVolume,
  uuid: string,
  signal: AbortSignal,
): Promise<ThinVolume | null> {
  const base = (await pool.volumes(signal)).find(volume => volume.uuid === uuid)
  const fits =
    base !== undefined &&
    originOf(base.name) === origin &&
    isBase(base) &&
    base.thin.pool === now.thin.pool &&
    base.bytes === now.bytes
  return fits ? base : null
}

function uuidOf({ mark }: VolumeState): string | null {
  try {
    return parseMark(parseJson(utf8(mark), { bytesMax: markBytesMax })).uuid
  } catch {
    return null
  }
}
