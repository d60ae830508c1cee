import { CodedError } from '../base/errors.ts'
import { type Digest, repositoryOf } from '../base/names.ts'
import type { Entry } from '../ledger/entry.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import type { Profile } from '../profiles/profile.ts'
import type { Retention } from '../profiles/retention.ts'
import type { Outcome, Progress } from '../qrexec/calls/orders.ts'
import type { ObjectReference } from '../repository/format.ts'
import { openIndex } from '../repository/index.ts'
import { sum } from '../repository/pack-fates.ts'
import { packsOfFate, type Rewritten, rewrite } from '../repository/prune.ts'
import { type PrunePlan, type PruneSource, planPrune } from '../repository/prune-plan.ts'
import { fetchObject } from '../repository/reader.ts'
import type { Repository } from '../repository/repository.ts'
import type { PrunableObjectStore } from '../storage/object-store.ts'
import { completeCommit, knownBlobs, openPinned, repositoryDirectory } from './backup.ts'
import { CachingStore } from './caching-store.ts'
import { combinedOutcome, type EpochOutcome } from './combined-outcome.ts'
import { readableRepositories, requireRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import { type Accepted, asSealed } from './order.ts'
import { PackJournal, unclaimed } from './pack-journal.ts'
import type { EnginePorts } from './ports.ts'
import { pruneEntries } from './prune-entries.ts'
import { pruneOutcome } from './prune-outcome.ts'
import { releasePassphrase } from './release.ts'
import { listOf, type Removal, type Removed, removeObjects } from './removal.ts'
import { RepositoryCache } from './repository-cache.ts'
import { repositoryNow } from './repository-now.ts'
import { forgettable, judgeSnapshots } from './retained.ts'
import type { Task } from './task.ts'

/*
 * Forget and prune, in two halves:
 *   1. new packs and a new index are stored beside the old, durable, and used by nobody;
 *   2. one append to the ledger says what is forgotten, which index is in force, and what may go: the point of no return;
 *   3. the HSM VM is shown the new head; only then is anything removed, each object under the grant of that entry.
 * A crash before 2 leaves objects that no index in force names, one after it objects that may go. Both are what the next
 * prune finds by comparing the storage's listing with the ledger, so nothing has to be remembered anywhere else.
 */

export interface PruneJob extends Task {
  /** Runs `work` while no hold changes, and while the job cannot be cancelled. */
  readonly decide: <T>(work: () => Promise<T>) => Promise<T>
}

/** Of a profile that may be pruned. */
export function requireRetention({ name, retention }: Profile): Retention {
  if (retention !== null) return retention
  throw new EngineError('RETENTION_MISSING', `profile '${name}' keeps every snapshot`)
}

/** Of the repository of one epoch. */
interface EpochPrune extends PruneJob {
  readonly epoch: number
}

/** One accepted order of a prune, in each repository of the profile. They must be this job's alone. */
export async function runPrunes(ports: EnginePorts, task: PruneJob): Promise<Outcome> {
  const { profile, binding } = task
  requireRetention(profile)
  const outcomes: EpochOutcome[] = []
  for (const { epoch } of requireRepositories(ports, profile.name, binding))
    outcomes.push({ epoch, outcome: await runPrune(ports, { ...task, epoch }) })
  return combinedOutcome(outcomes)
}

async function runPrune(ports: EnginePorts, task: EpochPrune): Promise<Outcome> {
  const { job, profile, epoch, configuration, signal } = task
  const name = repositoryOf(profile.name, epoch)
  const directory = repositoryDirectory(ports.directory, name)

  reporter(task)('passphrase')
  using passphrase = await releasePassphrase(
    ports,
    {
      configuration,
      job,
      hsmVm: profile.passphraseVm,
      epoch,
      purpose: 'prune',
      onWaiting: () => reporter(task)('approval'),
    },
    signal,
  )
  reporter(task)('opening')
  await using storage = await ports.prunable(profile.destinationVm, name, task.upload, signal)
  await completeCommit(ports, directory, storage, signal)
  const cache = new RepositoryCache(directory)
  using repository = await openPinned(historyNow(ports, task), cache, storage, passphrase, signal)
  // Awaited here: key and connection end with this block.
  return await prune(ports, task, { directory, storage, cache, repository })
}

interface Opened {
  /** dom0's own, of the repository. */
  readonly directory: string
  readonly storage: PrunableObjectStore
  readonly cache: RepositoryCache
  readonly repository: Repository
}

async function prune(ports: EnginePorts, task: EpochPrune, opened: Opened): Promise<Outcome> {
  const { signal } = task
  const { storage, cache, repository } = opened
  const report = reporter(task)
  const history = historyNow(ports, task)
  report('marking')
  await using table = await knownBlobs(ports, repository, history, cache, storage, signal)
  const source: PruneSource = {
    repository,
    store: storage,
    indexSets: history.indexSets,
    table,
  }
  const judged = judge(ports, task)
  const forgotten = forgettable(judged)
  const staying = judged.filter(({ reasons }) => reasons.length > 0).map(one => one.snapshot.snapshotId)
  const plan = await sparingResumable(
    ports,
    opened,
    history,
    await planPrune(source, staying, signal),
    signal,
  )
  if (task.order.dryRun === true)
    return pruneOutcome({ dryRun: true, history, forgotten, plan, ...foreseen(history, forgotten, plan) })

  const { entropy } = ports.environment
  const caching = new CachingStore(storage, cache)
  const rewritten = await rewrite(source, plan, caching, entropy, done => report('rewriting', done), signal)
  signal.throwIfAborted()
  report('finishing')
  const removal = removalOf(history, forgotten, plan, rewritten.dropped)
  const found = { history, forgotten, plan, rewritten, removal }
  const entry = await record(ports, task, found)
  const removed = await removeUnder(ports, task, opened, removal, entry)
  await cache.keepIndexOnly(
    new Set(historyNow(ports, task).indexSets.flatMap(({ index }) => index.map(({ id }) => id))),
  )
  return pruneOutcome({ dryRun: false, ...found, removed })
}

function reporter(task: PruneJob) {
  return (phase: Progress['phase'], done = { bytesDone: 0, bytesTotal: 0 }) =>
    task.report({ phase, ...done, bytesStored: 0 })
}

function historyNow(ports: EnginePorts, { profile, epoch }: EpochPrune): RepositoryHistory {
  return repositoryNow(ports, profile.name, epoch)
}

/** Of the epoch's own snapshots, among all of the profile. */
function judge(
  ports: EnginePorts,
  { profile, binding, epoch }: Pick<EpochPrune, 'profile' | 'binding' | 'epoch'>,
) {
  const histories = readableRepositories(ports, profile.name, binding)
  const now = ports.environment.clock.now()
  return judgeSnapshots(profile.retention, histories, now).filter(({ snapshot }) => snapshot.epoch === epoch)
}

/** What an interrupted backup has stored is named by no index yet, and waits for the next backup to go on with it. */
async function sparingResumable(
  ports: EnginePorts,
  { directory, storage, repository }: Opened,
  history: RepositoryHistory,
  plan: PrunePlan,
  signal: AbortSignal,
): Promise<PrunePlan> {
  const journal = new PackJournal(directory, repository.key, ports.environment.entropy)
  const left = await journal.adopt(id => plan.packs.has(id), storage, signal)
  const resumable = unclaimed(left, history, ports.environment.clock.now())
  const ids = new Set(resumable.map(({ id }) => id))
  return { ...plan, unnamedPacks: plan.unnamedPacks.filter(({ id }) => !ids.has(id)) }
}

/** All that may go. What is in force, before or after, is never among it. */
function removalOf(
  { forgotten: before, indexSets }: RepositoryHistory,
  forgotten: readonly Recorded<'snapshot'>[],
  plan: PrunePlan,
  dropped: readonly ObjectReference[],
): Removal {
  const idsOf = (sets: readonly { readonly index: readonly ObjectReference[] }[]) =>
    sets.flatMap(set => set.index)
  const staying = new Set(idsOf(indexSets.filter(set => !plan.replaced.includes(set))).map(({ id }) => id))
  const replaced = idsOf(plan.replaced).filter(({ id }) => !staying.has(id))
  return {
    snapshots: [...before, ...forgotten]
      .map(({ snapshot }) => snapshot)
      .filter(({ id }) => plan.listedSnapshots.has(id)),
    index: [...replaced, ...plan.unnamedIndex],
    packs: [...dropped, ...plan.unnamedPacks],
  }
}

/** What a prune would do if it ended well, for a dry run. */
function foreseen(
  history: RepositoryHistory,
  forgotten: readonly Recorded<'snapshot'>[],
  plan: PrunePlan,
): { rewritten: Pick<Rewritten, 'index' | 'added' | 'rewritten' | 'leftForWantOfRoom'>; removed: Removed } {
  const old = packsOfFate(plan, 'rewrite')
  const added = old.map(({ id }) => ({ id, bytes: plan.packs.get(id)?.neededBytes ?? 0 }))
  const removal = removalOf(history, forgotten, plan, [...old, ...packsOfFate(plan, 'remove')])
  const bytes = sum(listOf(removal), one => one.bytes)
  return {
    rewritten: { index: [], added, rewritten: old, leftForWantOfRoom: 0 },
    removed: { packs: removal.packs.length, bytes, left: 0, leftBytes: 0 },
  }
}

/**
 * The point of no return. Answers the entry that grants the removals, or `null` when there is nothing to do. Throws
 * `HELD_MEANWHILE`, `RETENTION_CHANGED`.
 */
async function record(
  ports: EnginePorts,
  task: EpochPrune,
  found: {
    readonly history: RepositoryHistory
    readonly forgotten: readonly Recorded<'snapshot'>[]
    readonly plan: PrunePlan
    readonly rewritten: Rewritten
    readonly removal: Removal
  },
): Promise<number | null> {
  const { forgotten, plan, removal } = found
  if (forgotten.length + plan.replaced.length + listOf(removal).length === 0) return null
  return task.decide(async () => {
    const sealed = await asSealed(ports.configuration, task.order)
    requireForgettable(ports, { ...sealed, epoch: task.epoch }, forgotten)
    const { forgets, prunes } = pruneEntries({
      ...found,
      time: ports.environment.clock.now(),
      job: task.job.id,
      configuration: sealed.configuration.digest,
    })
    const entries: readonly Entry[] = [...forgets, ...prunes]
    return (await ports.ledger.append(entries)) + forgets.length
  })
}

/** A prune is long: a hold may have come, or another configuration, which of an epoch that it does not have keeps everything. */
function requireForgettable(
  ports: EnginePorts,
  sealed: Accepted & Pick<EpochPrune, 'epoch'>,
  forgotten: readonly Recorded<'snapshot'>[],
): void {
  const reasonsOf = new Map(judge(ports, sealed).map(one => [one.snapshot.snapshotId, one.reasons]))
  for (const { snapshotId } of forgotten) {
    const reasons = reasonsOf.get(snapshotId)
    if (reasons?.length === 0) continue
    if (reasons?.includes('held'))
      throw new EngineError('HELD_MEANWHILE', `snapshot ${snapshotId} is held now`, { retry: true })
    throw new EngineError('RETENTION_CHANGED', `what is sealed now keeps snapshot ${snapshotId}`, {
      retry: true,
    })
  }
}

/** Removes what may go once the HSM VM has seen the entry that says so; if it has not, all of it stays for now. */
async function removeUnder(
  ports: EnginePorts,
  task: EpochPrune,
  { storage, repository }: Opened,
  removal: Removal,
  entry: number | null,
): Promise<Removed> {
  const { job, profile, signal } = task
  const objects = listOf(removal)
  if (entry === null) return { packs: 0, bytes: 0, left: 0, leftBytes: 0 }
  try {
    await ports.ledger.publish(profile.passphraseVm, signal)
  } catch (error) {
    signal.throwIfAborted()
    ports.log.warn('the HSM VM did not witness the prune; nothing is removed', { job: job.id, error })
    return { packs: 0, bytes: 0, left: objects.length, leftBytes: sum(objects, ({ bytes }) => bytes) }
  }
  const packsNamedBy = (id: Digest) => packsNamed(repository, storage, id, signal)
  const report = reporter(task)
  return removeObjects(storage, removal, entry, packsNamedBy, done => report('removing', done), signal)
}

/** What an index object in storage names that is not in force; junk names nothing. */
async function packsNamed(
  repository: Repository,
  storage: PrunableObjectStore,
  id: Digest,
  signal: AbortSignal,
): Promise<readonly Digest[]> {
  try {
    const packs = await openIndex(repository.key, await fetchObject(storage, 'index', id, signal))
    return packs.map(pack => pack.id)
  } catch (error) {
    if (error instanceof CodedError && (error.kind === 'integrity' || error.kind === 'missing')) return []
    throw error
  }
}
