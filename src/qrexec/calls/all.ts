import type { ArgumentKind } from '../call.ts'
import type { Role } from '../roles.ts'
import { attestMachine } from './attest.ts'
import { epochDestroyed } from './epochs.ts'
import { cosignLedger, readLedger } from './ledger.ts'
import { measureObject } from './measure.ts'
import {
  cancelJob,
  endHold,
  holdSnapshot,
  jobEvents,
  listJobs,
  listProfiles,
  listSnapshots,
  orderBackup,
  orderCheck,
  orderDrill,
  orderPrune,
  orderRestore,
  orderScrub,
  readDrillReport,
} from './orders.ts'
import { releasePassphrase, stockBackupPassphrase, stockRestorePassphrase, witnessLedger } from './release.ts'
import { storageGrant, storageObjects, storageRead, storageScrub } from './storage.ts'

/** What every declaration of a call says about who may make it. */
export interface CallDeclaration {
  readonly service: string
  readonly argument: ArgumentKind
  readonly from: readonly Role[]
  readonly to: Role
  readonly summary: string
}

/** qubesd's own calls that dom0 answers too; their wire form is the Admin API's (`engine/serve-admin.ts`). */
const stockCalls: readonly CallDeclaration[] = [
  {
    service: 'admin.backup.Execute',
    argument: 'profile',
    from: ['management'],
    to: 'dom0',
    summary: 'run a backup of a profile and answer when it has finished',
  },
  {
    service: 'admin.backup.Info',
    argument: 'profile',
    from: ['management'],
    to: 'dom0',
    summary: 'a summary of what a backup would contain; names only VMs that the caller may list',
  },
  {
    service: 'admin.backup.Cancel',
    argument: 'profile',
    from: ['management'],
    to: 'dom0',
    summary: 'cancel the running backup of a profile',
  },
]

/** Every call of the product, in the order of the reference page. */
export const allCalls: readonly CallDeclaration[] = [
  orderBackup,
  orderCheck,
  orderRestore,
  orderDrill,
  readDrillReport,
  orderPrune,
  orderScrub,
  cancelJob,
  listJobs,
  jobEvents,
  listSnapshots,
  holdSnapshot,
  endHold,
  listProfiles,
  readLedger,
  cosignLedger,
  epochDestroyed,
  measureObject,
  attestMachine,
  ...stockCalls,
  releasePassphrase,
  witnessLedger,
  stockBackupPassphrase,
  stockRestorePassphrase,
  storageObjects,
  storageGrant,
  storageRead,
  storageScrub,
]
