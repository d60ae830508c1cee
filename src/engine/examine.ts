import { repositoryOf, type SnapshotId } from '../base/names.ts'
import { wholeSnapshot } from '../base/restore-choice.ts'
import type { Purpose } from '../ledger/entry.ts'
import type { Recorded, RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { Examination } from '../repository/examination.ts'
import { completeCommit, repositoryDirectory } from './backup.ts'
import { runCheck } from './check.ts'
import { combinedOutcome, type EpochOutcome } from './combined-outcome.ts'
import { isReliedOn, requireRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import { releasePassphrase } from './release.ts'
import { repositoryNow } from './repository-now.ts'
import type { Task } from './task.ts'

const nothingDone = { bytesDone: 0, bytesTotal: 0, bytesStored: 0 }

/** One accepted order of a check: of each repository of the profile, the present one first. */
export async function runChecks(ports: EnginePorts, task: Task): Promise<Outcome> {
  const { job, profile, binding } = task
  const outcomes: EpochOutcome[] = []
  for (const { epoch, repository } of requireRepositories(ports, profile.name, binding)) {
    const history = await completedHistory(ports, task, epoch)
    if (!isReliedOn(history, binding)) continue
    using claiming = task.unnamedPacks.claiming(repository, job.ordered)
    const outcome = await examine(ports, task, history, 'check', examination =>
      runCheck(ports, task, examination, claiming),
    )
    outcomes.push({ epoch, outcome })
  }
  return combinedOutcome(outcomes)
}

/** One accepted order of a restore: the snapshot is in the repository of one epoch. */
export async function runRestore(ports: EnginePorts, task: Task): Promise<Outcome> {
  const { order, report, signal } = task
  const { history, snapshot } = await findSnapshot(ports, task, order.snapshot ?? null)
  return await examine(ports, task, history, 'restore', examination =>
    ports.examiner.restore(examination, snapshot.snapshotId, order.choice ?? wholeSnapshot, report, signal),
  )
}

/** `wanted: null`: the newest. Throws `SNAPSHOT_NOT_FOUND`. */
export async function findSnapshot(
  ports: EnginePorts,
  task: Task,
  wanted: SnapshotId | null,
): Promise<{ readonly history: RepositoryHistory; readonly snapshot: Recorded<'snapshot'> }> {
  const { profile, binding } = task
  for (const { epoch } of requireRepositories(ports, profile.name, binding)) {
    const history = await completedHistory(ports, task, epoch)
    const { snapshots } = history
    const snapshot = wanted === null ? snapshots.at(-1) : snapshots.find(one => one.snapshotId === wanted)
    if (snapshot !== undefined) return { history, snapshot }
  }
  throw new EngineError(
    'SNAPSHOT_NOT_FOUND',
    wanted === null
      ? 'the ledger has no snapshot of this profile'
      : `the ledger has no snapshot ${wanted} in an epoch that is sealed`,
  )
}

/** A commit that was interrupted is completed first. */
async function completedHistory(
  ports: EnginePorts,
  { profile, upload, signal }: Task,
  epoch: number,
): Promise<RepositoryHistory> {
  const repository = repositoryOf(profile.name, epoch)
  const directory = repositoryDirectory(ports.directory, repository)
  await using storage = await ports.storage(profile.destinationVm, repository, upload, signal)
  await completeCommit(ports, directory, storage, signal)
  return repositoryNow(ports, profile.name, epoch)
}

/** With the passphrase, which ends with `work`. */
export async function examine<T>(
  ports: EnginePorts,
  { job, profile, configuration, report, signal }: Task,
  history: RepositoryHistory,
  purpose: Extract<Purpose, 'check' | 'drill' | 'restore'>,
  work: (examination: Examination) => Promise<T>,
): Promise<T> {
  const { epoch, repository } = history
  report({ phase: 'passphrase', ...nothingDone })
  using passphrase = await releasePassphrase(
    ports,
    {
      configuration,
      job,
      hsmVm: profile.passphraseVm,
      epoch,
      purpose,
      onWaiting: () => report({ phase: 'approval', ...nothingDone }),
    },
    signal,
  )
  // Awaited here: the passphrase ends with this block.
  return await work({
    job: job.id,
    profile: profile.name,
    repository,
    storageVm: profile.destinationVm,
    history,
    passphrase,
  })
}
