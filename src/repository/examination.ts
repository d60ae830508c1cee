import type { CodedError } from '../base/errors.ts'
import type { JobId, ProfileName, RepositoryName, SnapshotId, VmName } from '../base/names.ts'
import type { RestoreChoice } from '../base/restore-choice.ts'
import type { Secret } from '../base/secret.ts'
import type { VolumeSink } from '../host/volumes.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome, Progress } from '../qrexec/calls/orders.ts'
import type { ProvenData } from './check-report.ts'
import type { ReadingPlan } from './read-cycle.ts'

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

export interface CheckResult {
  /** What is wrong with the repository, in dom0's words. */
  readonly fault: CodedError | null
  /** `null`: the check came to an end before anything was proven. */
  readonly proven: ProvenData | null
  readonly outcome: Outcome
}

/** Runs where hostile bytes may be parsed: a disposable. */
export interface Examiner {
  /** Throws when there is no verdict that could be believed. */
  check(
    examination: Examination,
    reading: ReadingPlan,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<CheckResult>
  /**
   * What is chosen of a snapshot, into new volumes beside what exists; they are visible only if every digest was right.
   * Goes on with one that was interrupted. Throws when something is not what it should be.
   */
  restore(
    examination: Examination,
    snapshot: SnapshotId,
    choice: RestoreChoice,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<Outcome>
}

/** For a drill: restores to where nobody else sees it. */
export interface Restorer {
  /** All of a snapshot into `sink`, which stays the caller's and is committed. Throws as `restore`. */
  restoreInto(
    sink: VolumeSink,
    examination: Examination,
    snapshot: SnapshotId,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<Outcome>
}
