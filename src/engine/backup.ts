import path from 'node:path'
import type { Milliseconds } from '../base/brand.ts'
import { fromHex } from '../base/bytes.ts'
import { deadline } from '../base/environment.ts'
import {
  type Digest,
  parseSnapshotId,
  type RepositoryName,
  repositoryOf,
  type SnapshotId,
} from '../base/names.ts'
import { bytesText } from '../base/quantities.ts'
import type { Secret } from '../base/secret.ts'
import { HostError } from '../host/errors.ts'
import type { FrozenVm, FrozenVolume, KeptStates } from '../host/volumes.ts'
import type { EntryOf } from '../ledger/entry.ts'
import { type RepositoryHistory, wasRecorded } from '../ledger/repository-history.ts'
import type { Priority } from '../profiles/budget.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import { RepositoryError } from '../repository/errors.ts'
import { blobIdLength } from '../repository/format.ts'
import type { IndexTable } from '../repository/index-table.ts'
import { bringIndexTable } from '../repository/index-table-update.ts'
import { openRepository, type Repository } from '../repository/repository.ts'
import { type BackupResult, BackupWriter, type VmResult } from '../repository/writer.ts'
import { StorageError } from '../storage/errors.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import { type Birth, giveBirth } from './birth.ts'
import { CachingStore } from './caching-store.ts'
import { CommitLog } from './commit.ts'
import { ContentCache } from './content-cache.ts'
import { requireNotDestroyed } from './epochs.ts'
import { type JournalledPack, PackJournal, unclaimed } from './pack-journal.ts'
import { type Plan, type PlannedVm, planBackup } from './plan.ts'
import type { EnginePorts } from './ports.ts'
import { releasePassphrase } from './release.ts'
import { RepositoryCache } from './repository-cache.ts'
import { repositoryNow } from './repository-now.ts'
import type { Task } from './task.ts'
import { VolumeMemory } from './volume-memory.ts'

/** Packs on their way to storage at once; each has 16 MiB. */
const packsAtOnce = 3
/** As far as a build that somebody started to run in the background. */
const nicenessOf = { low: 10, normal: 0 } as const satisfies Record<Priority, number>
/** A commit cannot be cancelled; a storage that does not answer must not hold dom0 for ever. The next order completes it. */
const commitMillisecondsMax: Milliseconds = 10 * 60 * 1000

export interface BackupJob extends Task {
  /** On one core. */
  readonly isSlow: boolean
  /** Called once, at the point of no return: from there on cancelling is refused. */
  readonly committing: () => void
}

/** One accepted order of a backup, from the plan to the ledger: "Order → backup", steps 5 to 10. */
export async function runBackup(ports: EnginePorts, task: BackupJob): Promise<Outcome> {
  const { job, profile, binding, configuration, report, signal } = task
  const repository = repositoryOf(profile.name, binding.epoch)
  const directory = repositoryDirectory(ports.directory, repository)
  const plan = planBackup(profile, await ports.inventory.list(signal))
  const progress = { bytesDone: 0, bytesTotal: plan.bytes, bytesStored: 0 }

  report({ phase: 'passphrase', ...progress })
  using passphrase = await releasePassphrase(
    ports,
    {
      configuration,
      job,
      hsmVm: profile.passphraseVm,
      epoch: binding.epoch,
      purpose: 'backup',
      onWaiting: () => report({ phase: 'approval', ...progress }),
    },
    signal,
  )

  report({ phase: 'opening', ...progress })
  await using storage = await ports.storage(profile.destinationVm, repository, task.upload, signal)
  await completeCommit(ports, directory, storage, signal)
  const cache = new RepositoryCache(directory)
  const history = await knownHistory(ports, task, repository, cache, storage, passphrase)
  using opened = await openPinned(history, cache, storage, passphrase, signal)
  await using known = await knownBlobs(ports, opened, history, cache, storage, signal)

  const isCurrent = (snapshot: SnapshotId) =>
    repositoryNow(ports, profile.name, binding.epoch).snapshots.some(one => one.snapshotId === snapshot)
  const contents = new ContentCache(directory, opened.key, ports.environment.entropy)
  const memory = new VolumeMemory(contents, isCurrent, ports.log)
  const journal = new PackJournal(directory, opened.key, ports.environment.entropy)
  const begun = ports.environment.clock.now()
  using storing = task.unnamedPacks.storing(repository, begun)
  const isNamed = (id: Digest) => known.reader.findPack(fromHex(id, blobIdLength)) >= 0
  const left = await journal.adopt(isNamed, storage, signal)
  const checked = repositoryNow(ports, profile.name, binding.epoch)
  const adopted = unclaimed(left, checked, ports.environment.clock.now()).filter(({ stored }) =>
    storing.adopts(stored),
  )
  const writer = new BackupWriter(opened, new CachingStore(storage, cache), known, {
    ...ports.environment,
    concurrency: packsAtOnce,
    threads: ports.threads,
    niceness: nicenessOf[profile.budget.priority],
    ...(task.isSlow ? { threadsMax: 1 } : {}),
    adopted,
    onStored: pack => journal.append(pack, begun),
  })
  // What the host keeps for the next backup takes the place of what it kept for this one only when all is done.
  const kept: KeptStates[] = []
  await using undecided = new AsyncDisposableStack()
  const keep = (states: KeptStates) => void kept.push(undecided.use(states))
  const { vms, result } = await written(ports, task, plan, writer, memory, keep)
  signal.throwIfAborted()
  task.committing()
  requireNotDestroyed(ports, profile.name, binding.epoch)
  const entry = snapshotEntry(ports, task, repository, vms, result)
  await new CommitLog(directory).begin({ entry, body: result.snapshot.body })
  const late = () =>
    new StorageError(
      'STORAGE_UNAVAILABLE',
      'storage did not take the snapshot in time; the next order completes it',
    )
  await completeCommit(ports, directory, storage, deadline(commitMillisecondsMax, late))
  await journal.clear()
  await memory.commit(entry.snapshotId)
  for (const states of kept) await states.commit()
  return {
    snapshot: entry.snapshotId,
    bytes: entry.bytes,
    bytesStored: entry.bytesStored,
    volumes: entry.volumes,
    warnings: [...plan.warnings, ...goesOn(adopted)],
    objects: undefined,
    snapshots: undefined,
    prune: undefined,
    drill: undefined,
  }
}

function goesOn(adopted: readonly JournalledPack[]): readonly string[] {
  const bytes = adopted.reduce((sum, pack) => sum + pack.bytes, 0)
  return bytes === 0
    ? []
    : [`${bytesText(bytes)} of an interrupted backup were in the storage, and were not sent again`]
}

/** Reads every planned volume and stores packs and index. Nothing is visible yet, and on any failure never will be. */
async function written(
  ports: EnginePorts,
  { job, report, signal }: BackupJob,
  plan: Plan,
  writer: BackupWriter,
  memory: VolumeMemory,
  keep: (states: KeptStates) => void,
): Promise<{ vms: readonly VmResult[]; result: BackupResult }> {
  const bytesTotal = plan.bytes
  let before = 0
  let bytesStored = 0
  try {
    const vms: VmResult[] = []
    for (const planned of plan.vms) {
      await using frozen = await ports.volumes.freeze(planned.vm, signal)
      const volumes = []
      for (const volume of plannedVolumes(planned, frozen)) {
        const onProgress = (progress: { bytesDone: number; bytesStored: number }) => {
          bytesStored = progress.bytesStored
          report({ phase: 'reading', bytesDone: before + progress.bytesDone, bytesTotal, bytesStored })
        }
        const earlier = await memory.earlier(planned.vm, volume)
        const result = await writer.addVolume(volume, onProgress, signal, earlier)
        memory.found(planned.vm, volume, result, earlier)
        volumes.push(result)
        before += volume.bytes
      }
      keep(frozen.keep(planned.volumes.map(({ name }) => name)))
      vms.push({ name: planned.vm, volumes })
    }
    report({ phase: 'finishing', bytesDone: before, bytesTotal, bytesStored })
    const time = ports.environment.clock.now()
    return { vms, result: await writer.prepare({ vms, time, tags: [`job:${job.id}`] }, signal) }
  } catch (error) {
    await writer.abort()
    if (error instanceof RepositoryError && error.code === 'CHANGES_MISSED') await memory.distrust()
    throw error
  }
}

/** Throws `VOLUME_MISSING`: a snapshot without a volume that was planned must not pass for a whole one. */
function plannedVolumes({ vm, volumes }: PlannedVm, frozen: FrozenVm): readonly FrozenVolume[] {
  return volumes.map(({ name }) => {
    const found = frozen.volumes.find(one => one.name === name)
    if (found === undefined) throw new HostError('VOLUME_MISSING', `volume ${name} of ${vm} is gone`)
    return found
  })
}

export function repositoryDirectory(directory: string, repository: RepositoryName): string {
  return path.join(directory, 'repositories', repository)
}

/** Completes a commit that a crash or an unreachable storage interrupted. */
export async function completeCommit(
  ports: EnginePorts,
  directory: string,
  storage: ObjectStore,
  signal: AbortSignal,
): Promise<void> {
  await new CommitLog(directory).complete(
    storage,
    {
      hasSnapshot: ({ profile, epoch, snapshotId }) =>
        wasRecorded(ports.ledger.repository(profile, epoch), snapshotId),
      append: entries => ports.ledger.append(entries),
    },
    signal,
  )
}

async function knownHistory(
  ports: EnginePorts,
  { job, profile, binding, signal }: BackupJob,
  repository: RepositoryName,
  cache: RepositoryCache,
  storage: ObjectStore,
  passphrase: Secret,
): Promise<RepositoryHistory> {
  const existing = ports.ledger.repository(profile.name, binding.epoch)
  if (existing !== null) return existing
  const directory = repositoryDirectory(ports.directory, repository)
  const birth = await giveBirth(directory, cache, storage, passphrase, ports.environment, signal)
  // Whoever cannot open what is about to be pinned must not pin it.
  using _ = await openPinned(birth, cache, storage, passphrase, signal)
  await ports.ledger.append([
    {
      type: 'repository',
      time: ports.environment.clock.now(),
      job: job.id,
      profile: profile.name,
      repository,
      epoch: binding.epoch,
      ...birth,
    },
  ])
  const made = ports.ledger.repository(profile.name, binding.epoch)
  if (made === null) throw new Error('the ledger does not show the repository entry that was just appended')
  return made
}

/** Key file and config by the ledger's hashes: storage cannot choose them. */
export async function openPinned(
  pins: Birth,
  cache: RepositoryCache,
  storage: ObjectStore,
  passphrase: Secret,
  signal: AbortSignal,
): Promise<Repository> {
  const keyFile = await cache.get('keys', pins.keyFile, storage, signal)
  const config = await cache.get('config', pins.config, storage, signal)
  const pinned = { keyFile: pins.keyFile.id, config: pins.config.id }
  return openRepository({ passphrase, keyFile, config, pinned })
}

/** dom0's table of all blobs that the index in force names. */
export function knownBlobs(
  { environment, log }: EnginePorts,
  { key }: Repository,
  { indexSets }: RepositoryHistory,
  cache: RepositoryCache,
  storage: ObjectStore,
  signal: AbortSignal,
): Promise<IndexTable> {
  const references = new Map(indexSets.flatMap(({ index }) => index).map(one => [one.id, one]))
  return bringIndexTable(
    cache.indexTable,
    {
      key,
      entropy: environment.entropy,
      indexes: [...references.keys()],
      fetchIndex: id => cache.get('index', references.get(id) ?? { id, bytes: 0 }, storage, signal),
      onDamaged: error => log.warn('the table of blobs is made anew', { error }),
    },
    signal,
  )
}

function snapshotEntry(
  ports: EnginePorts,
  { job, profile, binding }: BackupJob,
  repository: RepositoryName,
  vms: readonly VmResult[],
  { snapshot, index, packsSummary, manifest, bytesStored }: BackupResult,
): EntryOf<'snapshot'> {
  const volumes = vms.flatMap(vm => vm.volumes)
  return {
    type: 'snapshot',
    time: ports.environment.clock.now(),
    job: job.id,
    profile: profile.name,
    repository,
    epoch: binding.epoch,
    snapshot: { id: snapshot.id, bytes: snapshot.bytes },
    snapshotId: parseSnapshotId(snapshot.id),
    manifest,
    index: index.map(({ id, bytes }) => ({ id, bytes })),
    packs: packsSummary,
    volumes: volumes.length,
    bytes: volumes.reduce((sum, { bytes }) => sum + bytes, 0),
    bytesStored,
  }
}
