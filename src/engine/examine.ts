import { repositoryOf, type SnapshotId } from '../base/names.ts'
import { wholeSnapshot } from '../base/restore-choice.ts'
import type { Purpose } from '../ledger/entry.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { Examination } from '../repository/examination.ts'
import { completeCommit, repositoryDirectory } from './backup.ts'
import { runCheck } from './check.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import { releasePassphrase } from './release.ts'
import { repositoryNow } from './repository-now.ts'
import type { Task } from './task.ts'

/** One accepted order of a check or a restore. */
export async function runExamination(ports: EnginePorts, task: Task): Promise<Outcome> {
  const { job, order, profile, binding, configuration, upload, report, signal } = task
  const repository = repositoryOf(profile.name, binding.epoch)
  const directory = repositoryDirectory(ports.directory, repository)
  {
    await using storage = await ports.storage(profile.destinationVm, repository, upload, signal)
    await completeCommit(ports, directory, storage, signal)
  }
  const history = repositoryNow(ports, profile.name, binding.epoch)
  using claiming = task.unnamedPacks.claiming(repository, job.ordered)
  const purpose: Purpose = job.kind === 'restore' ? 'restore' : 'check'
  const snapshot = job.kind === 'restore' ? snapshotOf(history, order.snapshot ?? null) : null
  const progress = { bytesDone: 0, bytesTotal: 0, bytesStored: 0 }
  report({ phase: 'passphrase', ...progress })
  using passphrase = await releasePassphrase(
    ports,
    {
      configuration,
      job,
      hsmVm: profile.passphraseVm,
      epoch: binding.epoch,
      purpose,
      onWaiting: () => report({ phase: 'approval', ...progress }),
    },
    signal,
  )
  const examination: Examination = {
    job: job.id,
    profile: profile.name,
    repository,
    storageVm: profile.destinationVm,
    history,
    passphrase,
  }
  // Awaited here: the passphrase ends with this block.
  return snapshot === null
    ? await runCheck(ports, task, examination, claiming)
    : await ports.examiner.restore(examination, snapshot, order.choice ?? wholeSnapshot, report, signal)
}

function snapshotOf({ snapshots }: RepositoryHistory, wanted: SnapshotId | null): SnapshotId {
  const found = wanted === null ? snapshots.at(-1) : snapshots.find(one => one.snapshotId === wanted)
  if (found === undefined)
    throw new EngineError(
      'SNAPSHOT_NOT_FOUND',
      wanted === null ? 'the ledger has no snapshot of this profile' : `the ledger has no snapshot ${wanted}`,
    )
  return found.snapshotId
}
