import type { IdempotencyKey, JobId, ProfileName, SnapshotId } from '../base/names.ts'
import type { ReadChoice } from '../base/read-choice.ts'
import type { RestoreChoice } from '../base/restore-choice.ts'
import type { AttestAnswer, Question } from '../qrexec/calls/attest.ts'
import type { CosignRequest, LedgerPage } from '../qrexec/calls/ledger.ts'
import type { Alarm, BackupOrder, Job, ProfileState, SnapshotSummary } from '../qrexec/calls/orders.ts'

/** Profiles that the management VM may order, and the sealed configuration that they come from. */
export interface OfferedProfiles {
  readonly configuration: { readonly version: number; readonly digest: string }
  readonly profiles: readonly ProfileState[]
  /** Of the machine. */
  readonly alarms?: readonly Alarm[] | undefined
}

/** What an order of a backup asks for beside the sealed profile: less of it. */
export type BackupWanted = Omit<BackupOrder, 'key'>

/**
 * All that the management VM can do to dom0: names go out, states come back. Every method throws a `CodedError`:
 * dom0's own, `QREXEC_REFUSED` by policy, `QREXEC_UNREACHABLE` and `QREXEC_TIMEOUT`.
 */
export interface Dom0Port {
  /** Orders may be repeated with the same key: it is one job. */
  backup(profile: ProfileName, key: IdempotencyKey, wanted: BackupWanted, signal: AbortSignal): Promise<Job>
  check(profile: ProfileName, key: IdempotencyKey, read: ReadChoice, signal: AbortSignal): Promise<Job>
  scrub(profile: ProfileName, key: IdempotencyKey, signal: AbortSignal): Promise<Job>
  restore(
    profile: ProfileName,
    key: IdempotencyKey,
    snapshot: SnapshotId | null,
    choice: RestoreChoice,
    signal: AbortSignal,
  ): Promise<Job>
  drill(
    profile: ProfileName,
    key: IdempotencyKey,
    snapshot: SnapshotId | null,
    signal: AbortSignal,
  ): Promise<Job>
  /** Signed by dom0. */
  drillReport(job: JobId, signal: AbortSignal): Promise<{ readonly envelope: string }>
  prune(profile: ProfileName, key: IdempotencyKey, dryRun: boolean, signal: AbortSignal): Promise<Job>
  cancel(job: JobId, signal: AbortSignal): Promise<Job>
  /** Newest first. */
  jobs(signal: AbortSignal): Promise<readonly Job[]>
  /** Oldest first. */
  snapshots(profile: ProfileName, signal: AbortSignal): Promise<readonly SnapshotSummary[]>
  /** May be repeated. */
  hold(profile: ProfileName, snapshot: SnapshotId, until: Date, signal: AbortSignal): Promise<SnapshotSummary>
  endHold(profile: ProfileName, snapshot: SnapshotId, signal: AbortSignal): Promise<SnapshotSummary>
  profiles(signal: AbortSignal): Promise<OfferedProfiles>
  /** The present state of the profile's jobs, then every change, until dom0 or `signal` ends it. */
  events(profile: ProfileName, signal: AbortSignal): AsyncIterable<Job>
  /** The newest checkpoint, what shows that it continues the first `from` entries, and entries from there on. */
  ledger(from: number, signal: AbortSignal): Promise<LedgerPage>
  /** Hands in this VM's cosignature of the checkpoint of `size`. */
  cosign(cosignature: CosignRequest, signal: AbortSignal): Promise<void>
  /** Which sealed store dom0 uses, signed by its TPM; that it has none is an answer too. */
  attest(question: Question, signal: AbortSignal): Promise<AttestAnswer>
}
