import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const repositoryErrors = {
  REPOSITORY_PASSPHRASE: {
    kind: 'key',
    meaning: 'The passphrase does not open the key file of the repository.',
    hint: 'use the passphrase of this repository and epoch',
  },
  REPOSITORY_PIN: {
    kind: 'integrity',
    meaning: 'The key file or the config is not the one that the ledger pins.',
    hint: 'the storage served another repository or an old key file: keep it from being used, and compare copies',
  },
  REPOSITORY_FORMAT: {
    kind: 'integrity',
    meaning: 'An object of the repository opens, but is not what it should be.',
    hint: 'check the repository; an object may have been put in the place of another',
  },
  REPOSITORY_LIMIT: {
    kind: 'integrity',
    meaning: 'An object of the repository claims more bytes, entries or levels than there may be.',
    hint: 'check the repository; whoever wrote this object was not this product',
  },
  OBJECT_WRONG: {
    kind: 'integrity',
    meaning: 'The storage served an object whose SHA-256 is not its name.',
    hint: 'the object was damaged where it lies: restore it from a second copy of the storage',
  },
  PACKS_DIFFER: {
    kind: 'integrity',
    meaning: 'The packs that the indexes of a snapshot name are not those that the ledger counts.',
    hint: 'an index was lost, or written by someone else: check the repository from a second copy',
  },
  PACK_DIFFERS: {
    kind: 'integrity',
    meaning: 'The header of a pack and the index do not name the same blobs.',
    hint: 'check the repository from a second copy of the storage',
  },
  BLOB_MISSING: {
    kind: 'integrity',
    meaning: 'A blob that a snapshot needs is in no index.',
    hint: 'check the repository against the ledger: an index is missing',
  },
  BLOB_WRONG: {
    kind: 'integrity',
    meaning: 'A blob opens, but its plaintext is not what its id says.',
    hint: 'check the repository; the machine that wrote it may have faulty memory',
  },
  NEEDED_MISSING: {
    kind: 'integrity',
    meaning: 'The storage lacks an object that snapshots which stay need, or has it with another size.',
    hint: 'nothing was removed; check the repository, and keep the storage as evidence',
  },
  VOLUME_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The snapshot has no such volume.',
    hint: 'list the volumes of the snapshot',
  },
  VOLUME_DIGEST: {
    kind: 'integrity',
    meaning: 'A restored volume is not what was backed up.',
    hint: 'do not use what was restored; check the repository',
  },
  VOLUME_EXTENTS: {
    kind: 'failed',
    meaning: 'The pool described a volume with gaps or overlaps.',
    hint: 'report it with the name of the pool',
  },
  CHANGES_MISSED: {
    kind: 'integrity',
    meaning: 'The pool said that a part of a volume had not changed since the last backup, and it had.',
    hint: 'order the backup again: it reads the whole volume; then find out why the pool was wrong',
  },
  VOLUME_UNSUITABLE: {
    kind: 'refused',
    meaning: 'A volume is too large, or its name or that of its VM has no place in a snapshot.',
    hint: 'exclude the volume or rename it',
  },
  SNAPSHOT_LIMIT: {
    kind: 'refused',
    meaning: 'The backup is larger than one snapshot can describe.',
    hint: 'divide the VMs between several profiles',
  },
  INDEX_TABLE_DAMAGED: {
    kind: 'integrity',
    meaning:
      'The table of all blobs that is kept beside the index objects was changed, or belongs to another repository.',
    hint: 'nothing is lost: it is made again from the index objects. If it happens again, the disk is failing',
  },
  INDEX_TABLE_FULL: {
    kind: 'full',
    meaning: 'There is no room for the table of all blobs.',
    hint: 'free about 150 bytes for each blob of the repository on the disk where dom0 keeps its state',
  },
  INDEX_TABLE_WRITE: {
    kind: 'failed',
    meaning: 'The table of all blobs could not be written or read.',
    hint: 'look at the disk where dom0 keeps its state',
  },
  WRITER_ENDED: {
    kind: 'failed',
    meaning: 'A backup was continued after it had ended or failed. This is a defect of the product.',
    hint: 'report it',
  },
} as const satisfies ErrorCatalogue

export class RepositoryError extends errorClass(repositoryErrors) {}
