import type { Digest } from '../base/names.ts'
import { slotOf, slotSetOf } from '../base/slots.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type ObjectStore, objectName, parseObjectName } from '../storage/object-store.ts'
import { type CheckProgress, checkPacks, type ExpectedPack } from './check-packs.ts'
import { CheckFindings, type CheckReport, type ProvenData } from './check-report.ts'
import { checkSnapshots } from './check-trees.ts'
import { RepositoryError } from './errors.ts'
import type { ObjectReference } from './format.ts'
import type { IndexTable } from './index-table.ts'
import { bringIndexTable } from './index-table-update.ts'
import { headerRange, packBytesOf } from './pack.ts'
import { type PacksSummary, summarisePacks } from './packs-root.ts'
import { chooseSlots, type ReadingPlan } from './read-cycle.ts'
import { fetchObject, type TablePlace } from './reader.ts'
import type { Repository } from './repository.ts'
import { openSnapshot, type Snapshot } from './snapshot.ts'

/*
 * Whether the storage has what the ledger says it should have. The storage's own listing is asked for one number only:
 * how much there is that nobody expects.
 */

/** Index objects that are in force, and what the ledger counts of the packs in them. */
export interface ExpectedIndex {
  readonly index: readonly ObjectReference[]
  readonly packs: PacksSummary
}

export interface Expected {
  /** As the ledger pins them; `null` leaves them out. */
  readonly pinned: { readonly keyFile: ObjectReference; readonly config: ObjectReference } | null
  readonly snapshots: readonly { readonly snapshot: ObjectReference }[]
  readonly indexSets: readonly ExpectedIndex[]
}

export interface CheckOptions extends TablePlace {
  /** Of which packs every blob is opened and hashed. */
  readonly reading: ReadingPlan
}

/**
 * Finds everything that is wrong rather than the first thing. Throws only what says nothing about the repository: a
 * storage that cannot be reached, an abort.
 */
export async function checkRepository(
  repository: Repository,
  store: ObjectStore,
  expected: Expected,
  options: CheckOptions,
  onProgress: (progress: CheckProgress) => void,
  signal: AbortSignal,
): Promise<CheckReport> {
  const findings = new CheckFindings()
  await checkPins(store, expected, findings, signal)
  const snapshots = await openSnapshots(repository, store, expected, findings, signal)
  const before = findings.count
  await using table = await openIndexes(repository, store, expected, options, findings, signal)
  const packs = await comparePacks(table, expected, findings)
  const indexesWhole = findings.count === before

  const slots = chooseSlots(options.reading, packs)
  const isRead = ({ id }: ObjectReference) => slots.has(slotOf(id))
  const faulty = await checkPacks({ repository, store, table, packs }, findings, isRead, onProgress, signal)
  await checkSnapshots({ repository, store, blobs: table.reader }, snapshots, findings, signal)

  const names = expectedNames(expected, packs)
  return findings.report({
    objects: names.size,
    ignored: await countOthers(store, names, signal),
    blobs: table.counts.records - table.counts.repeatedRecords,
    proven: provenData(indexesWhole ? slots : new Set(), packs, faulty),
  })
}

function provenData(
  read: ReadonlySet<number>,
  packs: readonly ObjectReference[],
  faulty: ReadonlySet<Digest>,
): ProvenData {
  const slots = new Set(read)
  for (const id of faulty) slots.delete(slotOf(id))
  return { slots: slotSetOf(slots), packs: summarisePacks(packs.filter(({ id }) => slots.has(slotOf(id)))) }
}

async function checkPins(
  store: ObjectStore,
  { pinned }: Expected,
  findings: CheckFindings,
  signal: AbortSignal,
) {
  if (pinned === null) return
  const { keyFile, config } = pinned
  for (const [name, { id }] of [
    [objectName('keys', keyFile.id), keyFile],
    [parseObjectName('config'), config],
  ] as const)
    await findings.step({ name, id, missing: 'missingPinned' }, async () => {
      const answer = await store.get(name, 'whole', signal)
      if (answer.parse(sha256Hex) !== id)
        throw new RepositoryError('REPOSITORY_PIN', `'${name}' is not the one that the ledger pins`)
    })
}

async function openSnapshots(
  repository: Repository,
  store: ObjectStore,
  expected: Expected,
  findings: CheckFindings,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Snapshot>> {
  const snapshots = new Map<string, Snapshot>()
  for (const { snapshot } of expected.snapshots) {
    const object = { name: `snapshots/${snapshot.id}`, id: snapshot.id, missing: 'missingSnapshots' as const }
    await findings.step(object, async () => {
      const body = await fetchReferenced(store, 'snapshots', snapshot, signal)
      snapshots.set(snapshot.id, await openSnapshot(repository.key, body))
    })
  }
  return snapshots
}

/** Of the index objects that are there and right. */
async function openIndexes(
  { key }: Repository,
  store: ObjectStore,
  expected: Expected,
  { tablePath, entropy }: CheckOptions,
  findings: CheckFindings,
  signal: AbortSignal,
): Promise<IndexTable> {
  const references = new Map(expected.indexSets.flatMap(({ index }) => index).map(one => [one.id, one]))
  return await bringIndexTable(
    tablePath,
    {
      key,
      entropy,
      indexes: [...references.keys()],
      fetchIndex: id => fetchReferenced(store, 'index', references.get(id) ?? { id, bytes: 0 }, signal),
      each: (id, add) => findings.step({ name: `index/${id}`, id, missing: 'missingIndex' }, add),
    },
    signal,
  )
}

/** All packs, each once; compared, set by set, with what the ledger counted. */
async function comparePacks(
  table: IndexTable,
  { indexSets }: Expected,
  findings: CheckFindings,
): Promise<readonly ExpectedPack[]> {
  const packs: ExpectedPack[] = []
  const packsOf = new Map<Digest | undefined, ObjectReference[]>()
  for await (const { id, blobs, index, repeats } of table.packs()) {
    const pack = { id, bytes: packBytesOf(blobs), headerBytes: headerRange(blobs).length }
    const name = table.indexes[index]
    const own = packsOf.get(name) ?? []
    own.push(pack)
    packsOf.set(name, own)
    if (!repeats) packs.push(pack)
    else findings.add('PACKS_DIFFER', `pack ${id.slice(0, 16)}… is in two indexes`, `index/${name}`)
  }
  for (const { index, packs: counted } of indexSets) {
    const found = summarisePacks(index.flatMap(({ id }) => packsOf.get(id) ?? []))
    if (found.root !== counted.root || found.count !== counted.count || found.bytes !== counted.bytes)
      findings.add(
        'PACKS_DIFFER',
        `${found.count} packs of ${found.bytes} bytes in the indexes; the ledger counts ${counted.count} of ${counted.bytes}`,
        `index/${index[0]?.id}`,
      )
  }
  return packs
}

async function fetchReferenced(
  store: ObjectStore,
  kind: 'snapshots' | 'index',
  { id, bytes }: ObjectReference,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const body = await fetchObject(store, kind, id, signal)
  if (body.byteLength !== bytes)
    throw new RepositoryError(
      'OBJECT_WRONG',
      `an object of ${body.byteLength} bytes; the ledger says ${bytes}`,
    )
  return body
}

function expectedNames(
  { pinned, snapshots, indexSets }: Expected,
  packs: readonly ObjectReference[],
): ReadonlySet<string> {
  const names = new Set(packs.map(({ id }) => `data/${id}`))
  for (const { snapshot } of snapshots) names.add(`snapshots/${snapshot.id}`)
  for (const { id } of indexSets.flatMap(({ index }) => index)) names.add(`index/${id}`)
  if (pinned !== null) names.add('config').add(`keys/${pinned.keyFile.id}`)
  return names
}

async function countOthers(
  store: ObjectStore,
  names: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<number> {
  let others = 0
  for (const kind of ['snapshots', 'index', 'data'] as const)
    for await (const { name } of store.list(kind, signal)) if (!names.has(name)) others += 1
  return others
}
