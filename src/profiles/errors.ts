import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const profileErrors = {
  PROFILE_TOO_LARGE: {
    kind: 'usage',
    meaning: 'A file of the configuration is larger than is ever read.',
    hint: 'select VMs by tag or class instead of naming each',
  },
  PROFILE_TEXT: {
    kind: 'usage',
    meaning:
      'The profile is not plain UTF-8 text: it has bytes or characters that hide or change its meaning.',
    hint: 'write the profile again in a plain text editor, as UTF-8',
  },
  PROFILE_YAML: {
    kind: 'usage',
    meaning: 'The profile is not well-formed YAML, or is more than one document.',
    hint: 'correct the named place; selectors beginning with @ must stand in quotes',
  },
  PROFILE_YAML_FEATURE: {
    kind: 'usage',
    meaning: 'The profile uses a part of YAML that a profile has no use for.',
    hint: 'write plain keys, values and lists',
  },
  PROFILE_NOT_MAPPING: {
    kind: 'usage',
    meaning: 'The profile is empty, or is a single value or a list.',
    hint: 'write one key a line: include, destination_vm, destination_path, passphrase_vm',
  },
  PROFILE_KEY_UNKNOWN: {
    kind: 'usage',
    meaning:
      'A key is not one that a profile has. Stock qubesd ignores it silently, so a typo would go unnoticed.',
    hint: 'correct the key; the keys that only Strongroom knows stand under strongroom:',
  },
  PROFILE_KEY_DUPLICATE: {
    kind: 'usage',
    meaning: 'A key is given twice. Stock qubesd silently takes the last.',
    hint: 'remove one of them',
  },
  PROFILE_KEY_MISSING: {
    kind: 'usage',
    meaning: 'A required key is missing.',
    hint: 'add the key; see the reference page of the profile',
  },
  PROFILE_TYPE: {
    kind: 'usage',
    meaning:
      'A value is of another type than its key wants. Words like yes, on, 12 or 1:30 are not text in YAML 1.1.',
    hint: 'put text in quotes; write lists with brackets or dashes',
  },
  PROFILE_VALUE: {
    kind: 'usage',
    meaning: 'A value has the right type but is not one that is allowed.',
    hint: 'see the reference page of the profile',
  },
  PROFILE_SELECTOR: {
    kind: 'usage',
    meaning:
      'An item of include or exclude is no VM name, @tag: or @type: selector. Stock qubesd would match nothing.',
    hint: 'write a VM name, "@tag:NAME" or "@type:CLASS"; there are no wildcards',
  },
  PROFILE_SELECTION_EMPTY: {
    kind: 'usage',
    meaning: 'The profile selects no VM at all. Stock qubesd would report a successful backup of nothing.',
    hint: 'name VMs, or write include: null for all VMs whose include_in_backups is set',
  },
  PROFILE_VM_UNKNOWN: {
    kind: 'usage',
    meaning: 'The profile names a VM that does not exist. Stock qubesd silently leaves it out of the backup.',
    hint: 'correct the name, or remove it from the profile if the VM is gone for good',
  },
  PROFILE_PASSPHRASE_TEXT: {
    kind: 'usage',
    meaning:
      'The profile holds a passphrase in clear text, which everyone who can read the profile can read.',
    hint: 'remove passphrase_text and name the VM that keeps the passphrase: passphrase_vm',
  },
  PROFILE_COMPRESSION: {
    kind: 'usage',
    meaning: 'The compression filter is not one that a restore accepts.',
    hint: 'use true, false, gzip, bzip2 or xz; zstd, zstdmt, pigz, pbzip2 and lzma also work where installed',
  },
  CALENDAR_INVALID: {
    kind: 'usage',
    meaning: 'The calendar expression is malformed, never comes due, or comes due too often.',
    hint: 'write it as for a systemd timer, e.g. daily or "Mon..Fri 21:00"; systemd-analyze calendar explains it',
  },
  TIME_ZONE_UNKNOWN: {
    kind: 'usage',
    meaning: 'There is no such time zone.',
    hint: 'use a name of the IANA data base, e.g. Europe/Berlin or UTC',
  },
  CONFIGURATION_FILE_UNKNOWN: {
    kind: 'usage',
    meaning: 'The configuration has a file that nothing reads.',
    hint: 'the files are profiles/NAME.conf, policy/NAME.policy, hsm/PROFILE.json and roles.json',
  },
  CONFIGURATION_FILE_INVALID: {
    kind: 'usage',
    meaning: 'A file of the configuration does not have its documented shape.',
    hint: 'correct the named field; see the reference page of the profile',
  },
  CONFIGURATION_INCOMPLETE: {
    kind: 'usage',
    meaning: 'Files of the configuration do not fit together: one names what another does not have.',
    hint: 'add what is missing, or remove what names it',
  },
  CONFIGURATION_TWICE: {
    kind: 'usage',
    meaning: 'Two files of the configuration say the same thing, each in its own way.',
    hint: 'remove one of the two',
  },
  CONFIGURATION_ROLE: {
    kind: 'usage',
    meaning: 'A VM has no role for what a profile wants of it, or has two that must be kept apart.',
    hint: 'roles.json says which VM has which role',
  },
} as const satisfies ErrorCatalogue

export class ProfileError extends errorClass(profileErrors) {}

export type ProfileErrorCode = keyof typeof profileErrors

/** Where in a file, counted from 1; columns in UTF-16 units. */
export interface Position {
  readonly line: number
  readonly column: number
}

export function where({ line, column }: Position): string {
  return `line ${line}, column ${column}`
}

/** An error at a place of a profile. */
export function fault(
  code: ProfileErrorCode,
  at: Position,
  message: string,
  options?: { readonly hint?: string; readonly cause?: unknown },
): ProfileError {
  return new ProfileError(code, `${where(at)}: ${message}`, options)
}
