import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type ObjectStore, objectName, parseObjectName } from '../storage/object-store.ts'
import { BlobTable } from './blob-table.ts'
import { type CheckProgress, checkPacks } from './check-packs.ts'
import { CheckFindings, type CheckReport } from './check-report.ts'
import { checkSnapshots } from './check-trees.ts'
import { RepositoryError } from './errors.ts'
import type { ObjectReference } from './format.ts'
import { type IndexedPack, openIndex } from './index.ts'
import { packBytesOf } from './pack.ts'
import { type PacksSummary, summarisePacks } from './packs-root.ts'
import { addToTable, fetchObject } from './reader.ts'
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

export interface CheckOptions {
  /** Also fetch every pack, and open and hash every blob. */
  readonly readData: boolean
}

/**
 * Finds everything that is wrong rather than the first thing. Throws only what says nothing about the repository: a
 * storage that cannot be reached, an abort.
 */
export async function checkRepository(
  repository: Repository,
  store: ObjectStore,
  expected: Expected,
  { readData }: CheckOptions,
  onProgress: (progress: CheckProgress) => void,
  signal: AbortSignal,
): Promise<CheckReport> {
  const findings = new CheckFindings()
  await checkPins(store, expected, findings, signal)
  const snapshots = await openSnapshots(repository, store, expected, findings, signal)
  const packs = await openIndexes(repository, store, expected, findings, signal)

  const blobs = new BlobTable()
  addToTable(blobs, packs)
  const source = { repository, store, blobs }
  await checkPacks(source, packs, findings, readData, onProgress, signal)
  await checkSnapshots(source, snapshots, findings, signal)

  const names = expectedNames(expected, packs)
  return findings.report({
    objects: names.size,
    ignored: await countOthers(store, names, signal),
    blobs: blobs.size,
    bytes: packs.reduce((sum, pack) => sum + packBytesOf(pack.blobs), 0),
  })
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

/** The packs of all indexes, each once; compared, set by set, with what the ledger counted. */
async function openIndexes(
  repository: Repository,
  store: ObjectStore,
  expected: Expected,
  findings: CheckFindings,
  signal: AbortSignal,
): Promise<readonly IndexedPack[]> {
  const packs = new Map<Digest, IndexedPack>()
  for (const { index, packs: counted } of expected.indexSets) {
    const own: ObjectReference[] = []
    for (const reference of index) {
      const object = { name: `index/${reference.id}`, id: reference.id, missing: 'missingIndex' as const }
      await findings.step(object, async () => {
        const body = await fetchReferenced(store, 'index', reference, signal)
        for (const pack of await openIndex(repository.key, body)) {
          own.push({ id: pack.id, bytes: packBytesOf(pack.blobs) })
          if (packs.has(pack.id))
            findings.add('PACKS_DIFFER', `pack ${pack.id.slice(0, 16)}… is in two indexes`, object.name)
          packs.set(pack.id, pack)
        }
      })
    }
    const found = summarisePacks(own)
    if (found.root !== counted.root || found.count !== counted.count || found.bytes !== counted.bytes)
      findings.add(
        'PACKS_DIFFER',
        `${found.count} packs of ${found.bytes} bytes in the indexes; the ledger counts ${counted.count} of ${counted.bytes}`,
        `index/${index[0]?.id}`,
      )
  }
  return [...packs.values()]
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
  packs: readonly IndexedPack[],
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
