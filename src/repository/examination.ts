import type { JobId, ProfileName, RepositoryName, SnapshotId, VmName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome, Progress } from '../qrexec/calls/orders.ts'

/** A look at a repository from inside a sandbox: all that a check and a restore share. */
export interface Examination {
  readonly job: JobId
  readonly profile: ProfileName
  readonly repository: RepositoryName
  readonly storageVm: VmName
  /** What the ledger says that must be there. */
  readonly history: RepositoryHistory
  /** Lent: whoever made it disposes of it. */
  readonly passphrase: Secret
}

export type ReportProgress = (progress: Progress) => void

/** Runs where hostile bytes may be parsed: a disposable. Both throw when what they looked at is not what it should be. */
export interface Examiner {
  check(
    examination: Examination,
    readData: boolean,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<Outcome>
  /** Into new volumes beside what exists; they are visible only if every digest was right. */
  restore(
    examination: Examination,
    snapshot: SnapshotId,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<Outcome>
}
