import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { readWhole } from '../base/files.ts'
import { dom0, parseVmName, type VmName } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { TreeDigest, treeOfFiles } from '../crypto/tree-digest.ts'
import { type Readable, writeVerity } from '../crypto/verity.ts'
import { verityUuidBytes } from '../crypto/verity-format.ts'
import type { Inventory } from '../host/inventory.ts'
import type { FrozenVolume, VolumeSource, VolumeState } from '../host/volumes.ts'
import { type Measurement, measureObject } from '../qrexec/calls/measure.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import { EngineError } from './errors.ts'

/*
 * Measuring: digests of what decides what this machine does, for VMs that watch it. What is not known to be as it was is
 * read anew.
 */

/** Of a tree of files, as they are now. */
export type MeasureFiles = (
  root: string,
  only: readonly string[] | null,
  signal: AbortSignal,
) => Promise<Omit<Measurement, 'kind'>>

export interface MeasurePorts {
  readonly inventory: Inventory
  readonly volumes: VolumeSource
  readonly files: MeasureFiles
  /** Of the sealed store, after verifying it as it is on the disk now. */
  readonly sealedFiles: () => Promise<ReadonlyMap<string, Uint8Array>>
  readonly places: MeasuredPlaces
  /** How long one measurement may take. */
  readonly millisecondsMax?: Milliseconds
}

export interface MeasuredPlaces {
  /** The sealed store. */
  readonly store: string
  /** Where the product is, and what in there belongs to it. */
  readonly agent: { readonly root: string; readonly only: readonly string[] }
  /** qrexec policy files; `null`: those in the sealed store are in force. */
  readonly policy: string | null
}

const millisecondsMaxDefault = 30 * 60_000
const templatePrefix = 'template-'
const measuredVolume = 'root'

interface KnownImage {
  readonly state: VolumeState
  readonly measurement: Measurement
}

/** dom0's side of `strongroom.Measure`. Policy has let the caller in. One measurement runs at a time. */
export function serveMeasure(ports: MeasurePorts): Record<string, Handler> {
  const turns = new Serially()
  const images = new Map<VmName, KnownImage>()
  const measure = (object: string, signal: AbortSignal): Promise<Measurement> => {
    if (object.startsWith(templatePrefix)) return measureTemplate(ports, images, vmOf(object), signal)
    return measureFiles(ports, object, signal)
  }
  return {
    [measureObject.service]: respond(
      measureObject,
      (_, { argument, signal }) =>
        turns.run(() => {
          const { millisecondsMax = millisecondsMaxDefault } = ports
          return measure(
            argument,
            deadline(millisecondsMax, () => late(millisecondsMax), signal),
          )
        }),
      { abortOnDisconnect: true },
    ),
  }
}

async function measureFiles(ports: MeasurePorts, object: string, signal: AbortSignal): Promise<Measurement> {
  signal.throwIfAborted()
  const { places } = ports
  switch (object) {
    case 'policy':
      return places.policy === null
        ? sealedBelow(await ports.sealedFiles(), 'policy/')
        : { kind: 'files', ...(await ports.files(places.policy, null, signal)) }
    case 'profiles':
      return sealedBelow(await ports.sealedFiles(), 'profiles/')
    case 'store':
      return { kind: 'files', ...(await ports.files(places.store, null, signal)) }
    case 'agent':
      return { kind: 'files', ...(await ports.files(places.agent.root, places.agent.only, signal)) }
    default:
      throw unknown()
  }
}

/** As if the folder had been laid out on a disk. */
function sealedBelow(files: ReadonlyMap<string, Uint8Array>, folder: string): Measurement {
  const below = new Map(
    [...files]
      .filter(([name]) => name.startsWith(folder))
      .map(([name, content]) => [name.slice(folder.length), content]),
  )
  const digest = new TreeDigest()
  let bytes = 0
  for (const { kind, path } of treeOfFiles(below.keys())) {
    const content = kind === 'file' ? below.get(path) : undefined
    if (content === undefined) digest.directory(path)
    else {
      bytes += content.byteLength
      digest.file(path, { executable: false, bytes: content.byteLength, digest: sha256Hex(content) })
    }
  }
  return { kind: 'files', digest: digest.finish(), files: below.size, bytes, bytesRead: bytes }
}

async function measureTemplate(
  ports: MeasurePorts,
  images: Map<VmName, KnownImage>,
  vm: VmName,
  signal: AbortSignal,
): Promise<Measurement> {
  const templates = (await ports.inventory.list(signal)).filter(one => one.class === 'TemplateVM')
  for (const known of images.keys()) if (!templates.some(({ name }) => name === known)) images.delete(known)
  const template = templates.find(({ name }) => name === vm)
  if (!template?.volumes.some(({ name }) => name === measuredVolume)) throw unknown()
  const { state, measurement } = await measureRoot(ports, vm, images.get(vm) ?? null, signal)
  // Only now: that the volume stayed the same while it was read shows when it is let go.
  if (state === null) images.delete(vm)
  else images.set(vm, { state, measurement })
  return measurement
}

async function measureRoot(
  { volumes }: MeasurePorts,
  vm: VmName,
  known: KnownImage | null,
  signal: AbortSignal,
): Promise<{ readonly state: VolumeState | null; readonly measurement: Measurement }> {
  await using frozen = await volumes.freeze(vm, signal)
  const volume = frozen.volumes.find(({ name }) => name === measuredVolume)
  if (volume === undefined) throw unknown()
  const { state } = volume
  if (
    known !== null &&
    known.measurement.bytes === volume.bytes &&
    (await isUnchanged(volume, known, signal))
  )
    return { state, measurement: { ...known.measurement, bytesRead: 0 } }
  const handle = await open(volume.path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const image: Readable = {
      bytes: volume.bytes,
      read: async (into, position) => {
        if (await readWhole(handle, into, position)) return
        throw new EngineError('MEASURE_SHORT', `the volume of ${vm} ended before its ${volume.bytes} bytes`)
      },
    }
    const parameters = { salt: new Uint8Array(0), uuid: new Uint8Array(verityUuidBytes) }
    const digest = await writeVerity(image, parameters, async () => {}, { signal })
    const { bytes } = volume
    return { state, measurement: { kind: 'image', digest, files: 1, bytes, bytesRead: bytes } }
  } finally {
    await handle.close()
  }
}

/** What the host knows for sure; a single range that is anything else means reading. */
async function isUnchanged(
  volume: FrozenVolume,
  { state }: KnownImage,
  signal: AbortSignal,
): Promise<boolean> {
  for await (const { kind } of volume.extents(state, signal)) if (kind !== 'unchanged') return false
  return true
}

function vmOf(object: string): VmName {
  const vm = parseVmName(object.slice(templatePrefix.length))
  if (vm === dom0) throw unknown()
  return vm
}

/** One answer for what there is not and for what is not measured: it tells of no VM whether it exists. */
function unknown(): EngineError {
  return new EngineError('MEASURE_UNKNOWN', 'there is no object of this name to be measured')
}

function late(milliseconds: Milliseconds): EngineError {
  return new EngineError('MEASURE_LATE', `measuring took longer than ${milliseconds} ms`)
}
