import type { Environment } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import type { Digest, ProfileName, RepositoryName, VmName } from '../base/names.ts'
import type { Inventory } from '../host/inventory.ts'
import type { PowerSource } from '../host/power.ts'
import type { VolumeSource } from '../host/volumes.ts'
import type { PassphraseService } from '../hsm/passphrase-service.ts'
import type { Entry, EntryOf } from '../ledger/entry.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Configuration } from '../profiles/config.ts'
import type { Alarm } from '../qrexec/calls/orders.ts'
import type { Examiner } from '../repository/examination.ts'
import type { ThreadBudget } from '../repository/thread-budget.ts'
import type { ObjectStore, PrunableObjectStore } from '../storage/object-store.ts'
import type { ScrubProgress, ScrubReport } from '../storage/scrub-lines.ts'
import type { UploadBudget, UploadShare } from '../storage/upload-budget.ts'
import type { DrillPorts } from './drill-ports.ts'

/** The sealed configuration in force. */
export interface SealedConfiguration {
  readonly value: Configuration
  readonly version: number
  readonly digest: Digest
}

export interface ConfigurationPort {
  /** What was verified; throws when the store on disk is no longer that. */
  current(): Promise<SealedConfiguration>
  /** That the store did not verify at some time since dom0 started; absent: it always did. */
  readonly alarm?: Alarm | null
}

export interface LedgerPort {
  readonly size: number
  /** Of its head, in base64: nobody knew it before. */
  readonly root: string
  /** Durable and signed when it resolves; the index of the first entry. */
  append(entries: readonly Entry[]): Promise<number>
  repository(profile: ProfileName, epoch: number): RepositoryHistory | null
  /** Whose passphrases are destroyed, by epoch, and where that is recorded. */
  destroyedEpochs(profile: ProfileName): ReadonlyMap<number, number>
  /** When it was begun. */
  readonly began: Date
  /** When the configuration in force was recorded as such; `null`: none was. */
  readonly configured: Date | null
  /** Accepted orders of a profile, oldest first. */
  orders(profile: ProfileName): readonly EntryOf<'order'>[]
  /** Shows the head to the HSM VM as a witness; failure is no failure of the job. */
  publish(hsmVm: VmName, signal: AbortSignal): Promise<void>
}

/** `signal` ends the store, and whatever is under way in it. What is sent waits for `upload`. */
export type OpenStorage = (
  vm: VmName,
  repository: RepositoryName,
  upload: UploadShare,
  signal: AbortSignal,
) => Promise<ObjectStore & AsyncDisposable>

/** The storage VM's own word for what it has. */
export type ScrubStorage = (
  vm: VmName,
  repository: RepositoryName,
  onProgress: (progress: ScrubProgress) => void,
  signal: AbortSignal,
) => Promise<ScrubReport>

/** The power to remove, for prune alone. */
export type OpenPrunableStorage = (
  vm: VmName,
  repository: RepositoryName,
  upload: UploadShare,
  signal: AbortSignal,
) => Promise<PrunableObjectStore & AsyncDisposable>

export interface EnginePorts {
  readonly environment: Environment
  readonly log: Log
  readonly configuration: ConfigurationPort
  readonly ledger: LedgerPort
  readonly passphrases: (hsmVm: VmName) => PassphraseService
  readonly inventory: Inventory
  readonly volumes: VolumeSource
  readonly storage: OpenStorage
  readonly prunable: OpenPrunableStorage
  /** Shared by all jobs. */
  readonly uploads: UploadBudget
  readonly threads: ThreadBudget
  readonly power: PowerSource
  readonly scrub: ScrubStorage
  readonly examiner: Examiner
  readonly drills: DrillPorts
  /** dom0's own state: jobs and repository caches. */
  readonly directory: string
}
