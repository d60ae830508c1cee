import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const restoreErrors = {
  VERDICT_INVALID: {
    kind: 'integrity',
    meaning: 'The sandbox answered with something that is no verdict, or none in time.',
    hint: 'take the snapshot for unproven; look into the log of the sandbox',
  },
  CHECK_FAILED: {
    kind: 'integrity',
    meaning: 'The repository is not what the ledger says it is.',
    hint: 'something was deleted, changed or rolled back in storage: keep its state as evidence and use another copy',
  },
  STORAGE_ROLLED_BACK: {
    kind: 'integrity',
    meaning:
      'Storage lacks the newest snapshots and everything that came with them: an older state was put back.',
    hint: 'keep the storage as evidence; order a full backup into new storage',
  },
  SNAPSHOT_DELETED: {
    kind: 'integrity',
    meaning: 'Storage lacks a snapshot that the ledger lists and that nobody was granted to remove.',
    hint: 'keep the storage as evidence; older snapshots may still restore',
  },
  HISTORY_TOO_LONG: {
    kind: 'full',
    meaning:
      'The repository has more snapshots, or more indexes in force, than a check or a restore takes on.',
    hint: 'forget and prune; or seal a new epoch, which is a new repository',
  },
  RESTORES_KEPT: {
    kind: 'full',
    meaning: 'dom0 keeps as many finished restores as it may.',
    hint: 'take what is needed out of dom0’s directory `restored`, and remove the rest',
  },
  VOLUME_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The snapshot has no VM or volume of that name.',
    hint: 'correct the name, or restore the whole snapshot; dom0’s log lists what it has',
  },
  RANGE_OUTSIDE: {
    kind: 'usage',
    meaning: 'The range does not lie within the volume.',
    hint: 'give a range that ends where the volume does, or before',
  },
  RESTORE_DIGEST: {
    kind: 'integrity',
    meaning: 'A restored volume does not have the digest that the ledger’s manifest gives.',
    hint: 'nothing was put in place; try another snapshot',
  },
} as const satisfies ErrorCatalogue

export class RestoreError extends errorClass(restoreErrors) {}
