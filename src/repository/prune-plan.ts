import { CodedError } from '../base/errors.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { type ObjectKind, type ObjectStore, objectName } from '../storage/object-store.ts'
import { RepositoryError } from './errors.ts'
import type { ObjectReference } from './format.ts'
import type { IndexTable } from './index-table.ts'
import type { TablePack } from './index-table-reader.ts'
import { markSnapshot, neededBlobs, RecordSet } from './live-blobs.ts'
import { type PackedBlob, packBytesOf } from './pack.ts'
import { decideFates, type Fate, type PackUsage, sum } from './pack-fates.ts'
import type { Repository } from './repository.ts'

/*
 * What a prune will do, decided from the ledger's snapshots and index. The storage's listing is asked for two things only:
 * whether what is needed is there, and what lies there that no index names. Nothing that an index names is removed
 * because of a listing.
 */

/** Index objects of one ledger entry. */
export interface IndexSource {
  readonly entry: number
  readonly index: readonly ObjectReference[]
}

export interface PruneSource {
  readonly repository: Repository
  readonly store: ObjectStore
  /** In force, oldest first. */
  readonly indexSets: readonly IndexSource[]
  /** Of the blobs that these name. */
  readonly table: IndexTable
}

export interface PrunePlan {
  readonly needed: RecordSet
  readonly packs: ReadonlyMap<Digest, PackUsage>
  readonly fates: ReadonlyMap<Digest, Fate>
  /** Those with a pack that does not stay as it is. */
  readonly replaced: readonly IndexSource[]
  /** What the storage lists and no index in force names: left over from jobs that died, and from prunes before. */
  readonly unnamedIndex: readonly ObjectReference[]
  readonly unnamedPacks: readonly ObjectReference[]
  /** All that the storage lists. */
  readonly listedSnapshots: Listing
}

/** Bytes by id: the storage's word. */
export type Listing = ReadonlyMap<Digest, number>

/** More than a repository of 30 TiB has; a storage could list for ever. */
const listedMax = 2_000_000

/**
 * `snapshotIds` are those that stay. The same repository gives the same plan. Throws `NEEDED_MISSING`, `BLOB_MISSING`, and
 * what reading throws.
 */
export async function planPrune(
  source: PruneSource,
  snapshotIds: readonly string[],
  signal: AbortSignal,
): Promise<PrunePlan> {
  const { repository, store, indexSets, table } = source
  const references = indexSets.flatMap(({ index }) => index)
  const listedSnapshots = await listed(store, 'snapshots', signal)
  const listedIndex = await listed(store, 'index', signal)
  const listedPacks = await listed(store, 'data', signal)
  for (const id of snapshotIds) requireListed('snapshots', listedSnapshots, parseDigest(id))
  for (const { id, bytes } of references) requireListed('index', listedIndex, id, bytes)

  const needed = new RecordSet(table.counts.records)
  const blobs = { repository, store, blobs: table.reader }
  await presentOrThrow(async () => {
    for (const id of snapshotIds) await markSnapshot(blobs, id, needed, signal)
  })

  const packs = new Map<Digest, PackUsage>()
  const packsOf = new Map<Digest | undefined, Digest[]>()
  for await (const pack of table.packs()) {
    signal.throwIfAborted()
    if (!pack.repeats) packs.set(pack.id, usageOf(pack, neededBlobs(needed, pack)))
    const index = table.indexes[pack.index]
    const own = packsOf.get(index) ?? []
    own.push(pack.id)
    packsOf.set(index, own)
  }
  const fates = decideFates([...packs.values()])
  for (const [id, { bytes }] of packs)
    if (fates.get(id) !== 'remove') requireListed('data', listedPacks, id, bytes)
  const inForce = new Set(references.map(({ id }) => id))
  const isReplaced = ({ index }: IndexSource) =>
    index.some(({ id }) => packsOf.get(id)?.some(pack => fates.get(pack) !== 'keep'))
  return {
    needed,
    packs,
    fates,
    replaced: indexSets.filter(isReplaced),
    unnamedIndex: others(listedIndex, id => inForce.has(id)),
    unnamedPacks: others(listedPacks, id => packs.has(id)),
    listedSnapshots,
  }
}

/** What a storage that answers does not have, or has in part, is lost. */
async function presentOrThrow(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    if (!(cause instanceof CodedError && (cause.kind === 'missing' || cause.code === 'STORAGE_RANGE')))
      throw cause
    throw new RepositoryError('NEEDED_MISSING', `a snapshot that stays cannot be read: ${cause.message}`, {
      cause,
    })
  }
}

function usageOf({ id, blobs }: TablePack, needed: readonly PackedBlob[]): PackUsage {
  const neededBytes = sum(needed, ({ length }) => length)
  return {
    id,
    bytes: packBytesOf(blobs),
    blobs: blobs.length,
    neededBlobs: needed.length,
    neededBytes,
    unneededBytes: sum(blobs, ({ length }) => length) - neededBytes,
  }
}

async function listed(
  store: ObjectStore,
  kind: Extract<ObjectKind, 'snapshots' | 'index' | 'data'>,
  signal: AbortSignal,
): Promise<Listing> {
  const found = new Map<Digest, number>()
  for await (const { name, bytes } of store.list(kind, signal)) {
    found.set(parseDigest(name.slice(kind.length + 1)), bytes)
    if (found.size > listedMax)
      throw new RepositoryError('REPOSITORY_LIMIT', `the storage lists more than ${listedMax} ${kind}`)
  }
  return found
}

function others(listing: Listing, isKnown: (id: Digest) => boolean): readonly ObjectReference[] {
  const found = [...listing].filter(([id]) => !isKnown(id)).map(([id, bytes]) => ({ id, bytes }))
  return found.sort((one, other) => (one.id < other.id ? -1 : 1))
}

function requireListed(kind: 'snapshots' | 'index' | 'data', listing: Listing, id: Digest, bytes?: number) {
  const found = listing.get(id)
  if (found === undefined || (bytes !== undefined && found !== bytes))
    throw new RepositoryError(
      'NEEDED_MISSING',
      `the storage lists ${objectName(kind, id).slice(0, 24)}… with ${found ?? 'no'} bytes; expected ${bytes ?? 'some'}`,
    )
}
