import { BaseError } from './base-errors.ts'
import type { Brand } from './brand.ts'
import { printable } from './errors.ts'

/** `[a-zA-Z][a-zA-Z0-9_.-]*`, at most 31, as qubes/vm/__init__.py validate_name; `dom0` is a valid VM name here. */
export type VmName = Brand<string, 'VmName'>
/** A qrexec argument and a file name: `[A-Za-z0-9._+-]`, at most 64, no leading dot or dash. */
export type ProfileName = Brand<string, 'ProfileName'>
/** `<UTC time>-<8 hex>`, e.g. `20261124T031500Z-1f2e3d4c`; sorts by time. Made by dom0 only. */
export type JobId = Brand<string, 'JobId'>
/** 64 lower-case hex digits: SHA-256 of a stored snapshot object. */
export type SnapshotId = Brand<string, 'SnapshotId'>
/** 64 lower-case hex digits: SHA-256 of a stored object or of plaintext. */
export type Digest = Brand<string, 'Digest'>
/** The storage VM's name of one repository: `<profile>.e<epoch>`, in the grammar of a qrexec argument. */
export type RepositoryName = Brand<string, 'RepositoryName'>
/** Of a VM, e.g. `private`: a letter, then at most 30 of a-z 0-9 _ -; a file name. */
export type VolumeName = Brand<string, 'VolumeName'>
/** Chosen by who orders, so that the same order sent twice is one job: `[A-Za-z0-9._-]`, 8 to 64. */
export type IdempotencyKey = Brand<string, 'IdempotencyKey'>

function grammar<Name extends string>(what: Name, pattern: RegExp, rule: string) {
  return (untrustedText: string): Brand<string, Name> => {
    if (typeof untrustedText !== 'string' || !pattern.test(untrustedText))
      throw new BaseError(
        'NAME_INVALID',
        `not a valid ${what}: '${printable(String(untrustedText)).slice(0, 80)}'; expected ${rule}`,
      )
    return untrustedText as Brand<string, Name>
  }
}

const vmName = grammar(
  'VmName',
  /^[a-zA-Z][a-zA-Z0-9_.-]{0,30}$/,
  'a letter, then at most 30 of A-Z a-z 0-9 _ . -',
)
const reservedVmNames = new Set(['Domain-0', 'none', 'default'])

export function parseVmName(untrustedText: string): VmName {
  const name = vmName(untrustedText)
  if (reservedVmNames.has(name) || name.endsWith('-dm'))
    throw new BaseError('NAME_INVALID', `'${name}' is a reserved VM name`)
  return name
}

export const parseProfileName = grammar(
  'ProfileName',
  /^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}$/,
  '1 to 64 of A-Z a-z 0-9 . _ + -',
)
export const parseJobId = grammar('JobId', /^\d{8}T\d{6}Z-[0-9a-f]{8}$/, 'e.g. 20261124T031500Z-1f2e3d4c')
export const parseSnapshotId = grammar('SnapshotId', /^[0-9a-f]{64}$/, '64 lower-case hex digits')
export const parseDigest = grammar('Digest', /^[0-9a-f]{64}$/, '64 lower-case hex digits')
export const parseRepositoryName = grammar(
  'RepositoryName',
  /^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,71}$/,
  '1 to 72 of A-Z a-z 0-9 . _ + -',
)
export const parseIdempotencyKey = grammar(
  'IdempotencyKey',
  /^[A-Za-z0-9._-]{8,64}$/,
  '8 to 64 of A-Z a-z 0-9 . _ -',
)

/** One repository per profile and key epoch. */
export function repositoryOf(profile: ProfileName, epoch: number): RepositoryName {
  return parseRepositoryName(`${profile}.e${epoch}`)
}

/** Names of volumes: they become file names. */
export const volumeNamePattern = /^[a-z][a-z0-9_-]{0,30}$/
export const parseVolumeName = grammar(
  'VolumeName',
  volumeNamePattern,
  'a letter, then at most 30 of a-z 0-9 _ -',
)

export const dom0 = 'dom0' as VmName
