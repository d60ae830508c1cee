import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const engineErrors = {
  PROFILE_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The sealed configuration has no profile of that name.',
    hint: 'seal a profile of that name, or correct the name',
  },
  VM_NOT_LISTED: {
    kind: 'refused',
    meaning: 'An order names a VM that the caller may not list, or that is not there.',
    hint: 'order without the name, which restores all, or seal a policy line that allows `admin.vm.List` of this VM to the caller',
  },
  JOB_NOT_FOUND: { kind: 'missing', meaning: 'There is no such job.', hint: 'list the jobs' },
  SNAPSHOT_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The ledger has no such snapshot of this profile.',
    hint: 'list them with: strongroom snapshots PROFILE; order a backup first if there is none',
  },
  JOB_RUNNING: {
    kind: 'conflict',
    meaning: 'A job of this kind is already running for the profile.',
    hint: 'wait for it to end, or cancel it',
  },
  JOB_ENDED: { kind: 'conflict', meaning: 'The job has already ended.', hint: 'nothing is left to cancel' },
  JOB_COMMITTING: {
    kind: 'conflict',
    meaning: 'The job is writing what it did into the ledger and cannot be cancelled at this moment.',
    hint: 'it ends within moments',
  },
  JOB_CANCELLED: { kind: 'cancelled', meaning: 'The job was cancelled.', hint: 'order again when wanted' },
  JOB_INTERRUPTED: {
    kind: 'failed',
    meaning: 'dom0 stopped while the job was running.',
    hint: 'order again; what was already stored stays harmless, and no half snapshot is visible',
  },
  KEY_REUSED: {
    kind: 'conflict',
    meaning: 'The idempotency key belongs to another order.',
    hint: 'use a new key for a new order',
  },
  ORDER_LIMIT: {
    kind: 'refused',
    meaning: 'The sealed limits of the profile do not allow another order now.',
    hint: 'order later; the limits are in the sealed profile',
  },
  ORDERS_BUSY: {
    kind: 'unavailable',
    meaning: 'dom0 already runs as many jobs as it may, or as it may for the VM that orders.',
    hint: 'wait for one to end',
  },
  BACKUP_HELD_BACK: {
    kind: 'unavailable',
    meaning: 'The backup waited for mains or another network as long as the sealed profile lets it.',
    hint: 'order it again when the machine is on mains, or without --metered',
  },
  PLAN_EMPTY: {
    kind: 'refused',
    meaning: 'The profile selects no volume at all.',
    hint: 'look at include and exclude of the profile: a backup of nothing is refused',
  },
  BACKUP_OVERDUE: {
    kind: 'failed',
    meaning:
      'The newest snapshot is older than `max_age_days` of the sealed profile allows, or there is none.',
    hint: 'order a backup, and find out why none was ordered or why they fail: `strongroom jobs` and the ledger tell',
  },
  CHECK_OVERDUE: {
    kind: 'failed',
    meaning: 'Stored data was not read for longer than `check_within_days` of the sealed profile allows.',
    hint: 'order a check with a cycle, and more often: at least four in the days that are sealed',
  },
  SCRUB_DAMAGED: {
    kind: 'integrity',
    meaning: 'The storage says that it has objects whose content is not what their name says.',
    hint: 'put the named objects back from a second copy; a check that reads the data proves what is right',
  },
  RETENTION_MISSING: {
    kind: 'refused',
    meaning: 'The sealed profile has no retention: every snapshot is kept, and there is nothing to prune.',
    hint: 'seal a profile with `retention` under `strongroom`',
  },
  HELD_MEANWHILE: {
    kind: 'conflict',
    meaning: 'A snapshot that the prune was about to forget has been held since it began.',
    hint: 'nothing was forgotten or removed; order the prune again',
  },
  RETENTION_CHANGED: {
    kind: 'conflict',
    meaning: 'The configuration that came into force meanwhile keeps what the prune was about to forget.',
    hint: 'nothing was forgotten or removed; order the prune again',
  },
  HOLD_DATE: {
    kind: 'refused',
    meaning: 'A hold may not end at that date.',
    hint: 'give a date to come, no further ahead than `days_max` of the sealed `holds`',
  },
  HOLD_FIXED: {
    kind: 'refused',
    meaning: 'The sealed profile lets no hold end before its date.',
    hint: 'wait for the date, or seal a profile with `may_end` of `holds`',
  },
  HOLD_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The snapshot is not held.',
    hint: 'list the snapshots; a hold that has come to its date is over',
  },
  DRILL_FAILED: {
    kind: 'integrity',
    meaning: 'A restore drill has shown that the snapshot does not hold what the sealed profile wants of it.',
    hint: 'read the report with `strongroom drill report JOB`; order a backup, and keep the storage as evidence',
  },
  DRILL_SUSPICIOUS: {
    kind: 'integrity',
    meaning: 'What a restore drill looked at did not behave as contents that nobody meant to hurt would.',
    hint: 'read the report with `strongroom drill report JOB`; look at the VM that was backed up',
  },
  DRILL_IMPOSSIBLE: {
    kind: 'unavailable',
    meaning: 'The sealed profile wants a level proven that this machine has no means for.',
    hint: 'install what it needs, or seal other levels',
  },
  DRILL_OVERDUE: {
    kind: 'failed',
    meaning: 'No restore drill has passed for longer than `within_days` of the sealed profile allows.',
    hint: 'order one with `strongroom drill run PROFILE`, and find out why none passed',
  },
  REPORT_MISSING: {
    kind: 'missing',
    meaning: 'The job has no report of a restore drill: it was no drill, or came to no verdict.',
    hint: 'list the jobs, and order a drill',
  },
  EPOCH_IN_USE: {
    kind: 'conflict',
    meaning: 'An epoch is not over: it is the sealed one, or the ledger has snapshots of it.',
    hint: 'seal a new epoch first; then forget and prune what is in the earlier one',
  },
  EPOCH_DESTROYED: {
    kind: 'conflict',
    meaning: 'The passphrase of the epoch was destroyed while a backup was on its way into it.',
    hint: 'order the backup again: it goes into the epoch that is sealed now',
  },
  REPOSITORY_UNKNOWN: {
    kind: 'missing',
    meaning: 'The ledger knows no repository of this profile and epoch.',
    hint: 'order a backup first',
  },
  REPOSITORY_PIN: {
    kind: 'integrity',
    meaning: 'The key file or config of the repository is not the one that the ledger pins.',
    hint: 'storage handed out something else: do not trust it, and look at the storage VM',
  },
  STATE_DAMAGED: {
    kind: 'integrity',
    meaning: 'A file of dom0’s own state does not read as it was written.',
    hint: 'restore the file from a backup of dom0, or remove it if the message says that it is a cache',
  },
  MEASURE_UNKNOWN: {
    kind: 'missing',
    meaning: 'There is no object of this name that is measured.',
    hint: 'name `policy`, `profiles`, `store`, `agent`, or `template-` and a TemplateVM that has a root volume',
  },
  MEASURE_LATE: {
    kind: 'timeout',
    meaning: 'Measuring took longer than it may.',
    hint: 'look at the load of dom0; what was read of files is not read again',
  },
  MEASURE_SHORT: {
    kind: 'unavailable',
    meaning: 'A volume could not be read to its end.',
    hint: 'look for faults of the disk',
  },
} as const satisfies ErrorCatalogue

export class EngineError extends errorClass(engineErrors) {}
