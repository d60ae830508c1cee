import { KiB, MiB, utf8 } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import {
  parseDigest,
  parseJobId,
  parseRepositoryName,
  parseSnapshotId,
  parseVmName,
  parseVolumeName,
} from '../base/names.ts'
import type { StreamReader } from '../base/reader.ts'
import { parseSlotSet, slotsCount } from '../base/slots.ts'
import { Untrusted } from '../base/untrusted.ts'
import { blobIdLength, chunkBytesMin, volumeBytesMax } from '../repository/format.ts'
import { shareWhole } from '../repository/read-cycle.ts'
import { RestoreError } from './errors.ts'

/*
 * The channel between dom0 and a sandbox: the sandbox's standard input and output. Frames in both directions:
 *   u32 length of the payload, big-endian | u8 kind | payload
 * dom0 sends `task`, as many `history` as that says, and `passphrase`; the sandbox sends any number of `progress` during a check, and last one `verdict`.
 * Between them, a restore is dom0's to lead. The sandbox sends the `manifest`. dom0 asks for one `volume` after another, each
 * answered with its `content`: the hashes of all its chunks, which have the digest that the manifest gives. dom0 says
 * which `chunks` it lacks, and is sent these as `data`, in any order, then `volume-end`. `finish` asks for the verdict.
 * So no byte is written whose hash dom0 has not known before. It parses nothing else, and every kind has a limit that is
 * checked before the payload is read.
 */

/** In one `content` frame: the next so many of a volume, as `ContentMap.packed` writes them. */
export const contentChunksMax = 65_536

/** Snapshots, and index sets, of one repository: more than ten years of a backup an hour of which nothing was forgotten. */
export const recordedMax = 100_000
/** In one `history` frame. */
const snapshotsPerFrame = 1000
const indexSetsPerFrame = 64

export const frameKinds = {
  task: { code: 1, bytesMax: 16 * KiB },
  history: { code: 12, bytesMax: 4 * MiB },
  passphrase: { code: 2, bytesMax: 1 * KiB },
  progress: { code: 3, bytesMax: 1 * KiB },
  manifest: { code: 4, bytesMax: 4 * MiB },
  volume: { code: 5, bytesMax: 1 * KiB },
  content: { code: 9, bytesMax: contentChunksMax * (1 + blobIdLength) },
  /** A `ChunkSet`. */
  chunks: { code: 10, bytesMax: volumeBytesMax / chunkBytesMin / 8 },
  data: { code: 6, bytesMax: 8 + 4 * MiB },
  'volume-end': { code: 7, bytesMax: 0 },
  finish: { code: 11, bytesMax: 0 },
  verdict: { code: 8, bytesMax: 64 * KiB },
} as const

export type FrameKind = keyof typeof frameKinds

const byCode = new Map<number, FrameKind>(
  Object.entries(frameKinds).map(([name, { code }]) => [code, name as FrameKind]),
)

export interface Frame {
  readonly kind: FrameKind
  readonly payload: Untrusted<Uint8Array>
}

export function frameHeader(kind: FrameKind, length: number): Uint8Array {
  const { code, bytesMax } = frameKinds[kind]
  if (length > bytesMax) throw new Error(`a ${kind} frame of ${length} bytes; at most ${bytesMax}`)
  const header = new Uint8Array(5)
  new DataView(header.buffer).setUint32(0, length)
  header[4] = code
  return header
}

/** The next frame, or `null` at a clean end. */
export async function readFrame(reader: StreamReader): Promise<Frame | null> {
  const header = await reader.exactlyOrEnd(5)
  if (header === null) return null
  const length = new DataView(header.buffer).getUint32(0)
  const kind = byCode.get(header[4] ?? 0)
  if (kind === undefined) throw new RestoreError('VERDICT_INVALID', 'a frame of unknown kind')
  if (length > frameKinds[kind].bytesMax)
    throw new RestoreError('VERDICT_INVALID', `a ${kind} frame of ${length} bytes is over its limit`)
  return { kind, payload: new Untrusted(await reader.exactly(length)) }
}

export function parseFrame<T>(frame: Frame, shape: (untrustedValue: unknown) => T): T {
  return frame.payload.parse(bytes => shape(parseJson(bytes, { bytesMax: frameKinds[frame.kind].bytesMax })))
}

export function jsonPayload(value: unknown): Uint8Array {
  return utf8(JSON.stringify(value))
}

const digest = is.name(parseDigest)
const reference = fields('object', { id: digest, bytes: is.integer(1) })
const packs = fields('packs', { count: is.integer(), bytes: is.integer(), root: digest })

/** What the sandbox is to do: only what the ledger says, nothing that storage says. */
export const parseTask = fields('task', {
  kind: is.literal('check', 'restore'),
  job: is.name(parseJobId),
  storageVm: is.name(parseVmName),
  /** Opens the repository for reading, until dom0 closes it. */
  capability: is.name(parseCapability),
  repository: is.name(parseRepositoryName),
  keyFile: reference,
  config: reference,
  /** check: of which packs every byte is read. */
  reading: is.nullable(
    fields('reading', {
      order: is.array(is.integer(0, slotsCount - 1), slotsCount),
      must: is.integer(0, slotsCount),
      share: is.integer(0, shareWhole),
    }),
  ),
  /** restore: the one wanted. */
  snapshot: is.nullable(is.name(parseSnapshotId)),
  snapshotCount: is.integer(0, recordedMax),
  indexSetCount: is.integer(0, recordedMax),
})
export type Task = ReturnType<typeof parseTask>

/** A part of what the ledger says of the repository, oldest first; `entry` is the place in the ledger. */
export const parseHistory = fields('history', {
  /** restore: only the one wanted. */
  snapshots: is.array(
    fields('snapshot', { entry: is.integer(), snapshot: reference, manifest: digest }),
    snapshotsPerFrame,
  ),
  /** The index in force. */
  indexSets: is.array(
    fields('index set', {
      entry: is.integer(),
      index: is.array(reference, 500),
      packs,
    }),
    indexSetsPerFrame,
  ),
})
export type History = ReturnType<typeof parseHistory>

/** In parts that a frame can hold. */
export function* historyParts({ snapshots, indexSets }: History): Generator<History> {
  for (let at = 0; at < snapshots.length; at += snapshotsPerFrame)
    yield { snapshots: snapshots.slice(at, at + snapshotsPerFrame), indexSets: [] }
  for (let at = 0; at < indexSets.length; at += indexSetsPerFrame)
    yield { snapshots: [], indexSets: indexSets.slice(at, at + indexSetsPerFrame) }
}

export const parseWantedVolume = fields('volume', {
  vm: is.name(parseVmName),
  volume: is.name(parseVolumeName),
})

export const parseSandboxProgress = fields('progress', { bytesDone: is.integer(), bytesTotal: is.integer() })

export const faultMessageLengthMax = 2000

/** `fault: null` is success. Bounded: counts, and the first faults in words for dom0's log. */
export const parseVerdict = fields('verdict', {
  fault: is.nullable(fields('fault', { code: is.string(64), message: is.string(faultMessageLengthMax) })),
  objects: is.integer(),
  snapshots: is.integer(),
  bytes: is.integer(),
  /** Objects in storage that belong to no snapshot. */
  ignored: is.integer(),
  /** check: the packs that were read and are right, also when something else is wrong. */
  proven: is.nullable(fields('proven', { slots: is.name(parseSlotSet), packs })),
})
export type Verdict = ReturnType<typeof parseVerdict>

function parseCapability(untrustedText: string): string {
  if (!/^[0-9a-f]{32}$/.test(untrustedText))
    throw new RestoreError('VERDICT_INVALID', 'not a capability: expected 32 hex digits')
  return untrustedText
}
