import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import { drillLevels, levelResults } from '../base/drill-levels.ts'
import { fields, is, parseJson } from '../base/json.ts'
import {
  parseDigest,
  parseJobId,
  parseProfileName,
  parseRepositoryName,
  parseSnapshotId,
  parseVmName,
} from '../base/names.ts'
import { parseReadChoice } from '../base/read-choice.ts'
import { parseSlotSet, slotsCount } from '../base/slots.ts'

/*
 * What the ledger records. Leaves hold types, hashes and counts; never a secret, a VM's contents, a file name, or the
 * name of a VM that is backed up: witnesses read them. At most 64 KiB each (tlog-tiles entries have a uint16 length).
 */

export const entryBytesMax = 0xffff

export const purposes = ['backup', 'check', 'drill', 'restore', 'prune'] as const
/** What a passphrase is released for. restic's key is symmetric: the purpose is judged and recorded, not enforced by mathematics. */
export type Purpose = (typeof purposes)[number]

const purpose = is.literal(...purposes)
const digest = is.name(parseDigest)
const objectReference = fields('object', { id: digest, bytes: is.integer(1) })
/** `root` is SHA-256 over the sorted lines `<id> <bytes>\n`. */
const summary = fields('summary', { count: is.integer(), bytes: is.integer(), root: digest })
const common = { time: is.time }
const ofJob = { ...common, job: is.name(parseJobId), profile: is.name(parseProfileName) }
const ofRepository = { repository: is.name(parseRepositoryName), epoch: is.integer(1) }
const ofHold = {
  ...common,
  profile: is.name(parseProfileName),
  epoch: is.integer(1),
  snapshotId: is.name(parseSnapshotId),
  initiator: is.name(parseVmName),
  configuration: digest,
}
const jobKind = is.literal('backup', 'check', 'drill', 'restore', 'scrub', 'prune')

/* What one entry holds of lists that may be longer; several entries then follow one another. */
export const forgottenPerEntryMax = 800
export const replacedPerEntryMax = 1000
export const indexPerPruneMax = 400

const shapes = {
  /** First entry of every ledger. */
  genesis: fields('genesis', { type: is.literal('genesis'), ...common, origin: is.string(200) }),
  /** The sealed configuration in force from here on. `digest` is of its snapshot envelope. */
  configuration: fields('configuration', {
    type: is.literal('configuration'),
    ...common,
    version: is.integer(1),
    digest,
  }),
  order: fields('order', {
    type: is.literal('order'),
    ...ofJob,
    kind: jobKind,
    initiator: is.name(parseVmName),
    configuration: digest,
  }),
  /** The HSM VM cosigns a checkpoint that includes this before it releases. */
  'release-request': fields('release-request', {
    type: is.literal('release-request'),
    ...ofJob,
    purpose,
    initiator: is.name(parseVmName),
    configuration: digest,
    epoch: is.integer(1),
    expires: is.time,
    nonce: digest,
  }),
  release: fields('release', { type: is.literal('release'), ...ofJob, purpose, request: is.integer() }),
  /**
   * An order or a release that was refused, with the code of the refusal. `alsoRefused`: so many orders were refused
   * since the last entry of this type, in a flood; dom0's log has them one by one.
   */
  refusal: fields('refusal', {
    type: is.literal('refusal'),
    ...ofJob,
    code: is.string(64),
    alsoRefused: is.optional(is.integer(1)),
  }),
  /** First trust of a repository: pins its key file and its config. */
  repository: fields('repository', {
    type: is.literal('repository'),
    ...ofJob,
    ...ofRepository,
    keyFile: objectReference,
    config: objectReference,
  }),
  /**
   * A snapshot that is whole. `snapshot` binds the tree and every blob by hash. `index` and `packs` are the objects
   * this job added.
   */
  snapshot: fields('snapshot', {
    type: is.literal('snapshot'),
    ...ofJob,
    ...ofRepository,
    snapshot: objectReference,
    snapshotId: is.name(parseSnapshotId),
    /** SHA-256 of the snapshot's manifest (VM and volume names, sizes, digests); salted, so it confirms nothing. */
    manifest: digest,
    index: is.array(objectReference, 500),
    packs: summary,
    volumes: is.integer(1),
    bytes: is.integer(),
    bytesStored: is.integer(),
  }),
  /**
   * What a check proved of the data. `slots`: those whose packs were all read and right, of the packs that are in
   * force by the first `entries` entries; `packs`: the packs in them, summed up as in `snapshot`. `began`: not later than that state.
   * `code`: the fault that the check found, somewhere else than in these packs.
   */
  checked: fields('checked', {
    type: is.literal('checked'),
    ...ofJob,
    ...ofRepository,
    read: is.name(parseReadChoice),
    began: is.time,
    entries: is.integer(1),
    slotCount: is.literal(slotsCount),
    slots: is.name(parseSlotSet),
    packs: summary,
    code: is.nullable(is.string(64)),
  }),
  /**
   * A restore drill of one snapshot. `levels`: those that passed, in order; `result` is that of the last one tried. `report`:
   * SHA-256 of the signed report, as it is kept.
   */
  drill: fields('drill', {
    type: is.literal('drill'),
    ...ofJob,
    ...ofRepository,
    snapshotId: is.name(parseSnapshotId),
    result: is.literal(...levelResults),
    levels: is.array(is.literal(...drillLevels), drillLevels.length),
    report: digest,
  }),
  /** No prune forgets the snapshot before `until`. */
  hold: fields('hold', {
    type: is.literal('hold'),
    ...ofHold,
    until: is.time,
  }),
  /** All holds of the snapshot end, where the sealed profile allows that. */
  'hold-end': fields('hold-end', { type: is.literal('hold-end'), ...ofHold }),
  /**
   * Snapshots that the retention of the sealed `configuration` no longer keeps: they are none any more, and their
   * objects may be removed.
   */
  forget: fields('forget', {
    type: is.literal('forget'),
    ...ofJob,
    ...ofRepository,
    configuration: digest,
    snapshots: is.array(is.name(parseSnapshotId), forgottenPerEntryMax),
  }),
  /**
   * `index` takes the place of the index objects of the entries in `replaces`; `packs` are all that it names, `added`
   * those of them that this job made. `removed` are the objects that may now be removed from storage, with lines
   * `<kind>/<id> <bytes>\n`, and `rewritten` the packs among them whose blobs live on in `added`.
   */
  prune: fields('prune', {
    type: is.literal('prune'),
    ...ofJob,
    ...ofRepository,
    replaces: is.array(is.integer(), replacedPerEntryMax),
    index: is.array(objectReference, indexPerPruneMax),
    packs: summary,
    added: summary,
    removed: summary,
    rewritten: summary,
  }),
  /** The HSM VM `initiator` has destroyed the passphrase of an earlier epoch, of which no snapshot was left. */
  'epoch-destroyed': fields('epoch-destroyed', {
    type: is.literal('epoch-destroyed'),
    ...common,
    profile: is.name(parseProfileName),
    epoch: is.integer(1),
    initiator: is.name(parseVmName),
    configuration: digest,
  }),
  /** The end of a job. */
  job: fields('job', {
    type: is.literal('job'),
    ...ofJob,
    kind: jobKind,
    result: is.literal('done', 'failed', 'cancelled'),
    code: is.nullable(is.string(64)),
  }),
} as const

type Shapes = typeof shapes
export type EntryType = keyof Shapes
export type Entry = { [T in EntryType]: ReturnType<Shapes[T]> }[EntryType]
export type EntryOf<T extends EntryType> = ReturnType<Shapes[T]>

export function encodeEntry(entry: Entry): Uint8Array {
  const bytes = utf8(JSON.stringify(entry))
  if (bytes.byteLength > entryBytesMax)
    throw new BaseError(
      'FIELD_INVALID',
      `a ledger entry of ${bytes.byteLength} bytes; at most ${entryBytesMax} fit`,
    )
  return bytes
}

/** An entry of a type that this version does not know is refused: whoever reads a ledger must understand all of it. */
export function parseEntry(untrustedBytes: Uint8Array): Entry {
  const untrustedValue = parseJson(untrustedBytes, { bytesMax: entryBytesMax })
  const type = (untrustedValue as { type?: unknown } | null)?.type
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type))
    throw new BaseError('FIELD_INVALID', 'ledger entry: unknown type')
  return shapes[type as EntryType](untrustedValue)
}
