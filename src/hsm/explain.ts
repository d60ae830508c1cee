import type { ProfileName } from '../base/names.ts'
import type { Extent, HsmBinding, ReleasePurpose } from '../profiles/binding.ts'
import { describeHours } from '../profiles/hours.ts'

/* The sealed rules of one profile in words, for the person whose token it is. The other half of `release.ts`. */

export function explainBinding(profile: ProfileName, binding: HsmBinding): readonly string[] {
  const { purposes, approve, pinAgain, hours, releasesPerDay, attestation, stockPassphrase, epoch, earlier } =
    binding
  const bound = purposes.filter(purpose => purpose !== 'restore')
  const when = hours === null ? 'at any time' : `from ${describeHours(hours)}`
  return [
    `${profile}, epoch ${epoch}`,
    ...(earlier.length === 0
      ? []
      : [`  for what is in epoch ${earlier.map(one => one.epoch).join(', ')} too, but no backups`]),
    ...(bound.length === 0 ? [] : [`  released for ${listed(bound)} ${when}`]),
    ...(purposes.includes('restore') ? ['  released for restore at any time'] : []),
    ...(purposes.length === 0 ? ['  released for nothing'] : []),
    `  ${releasesPerDay === null ? 'as often as it is ordered' : `at most ${times(releasesPerDay)} in any 24 hours`}`,
    `  ${approvals[approve][pinAgain] ?? approvals[approve].never}`,
    `  ${attestations[attestation]}`,
    `  ${stockPassphrase ? 'also to stock qvm-backup and qvm-backup-restore, which leave no entry in the ledger' : 'not to stock qvm-backup'}`,
  ]
}

/** By `approve`, then by `pin_again`, which is never more. */
const approvals: Readonly<Record<Extent, Readonly<Partial<Record<Extent, string>> & { never: string }>>> = {
  never: { never: 'nobody is asked' },
  restore: {
    never: 'asks you for a restore, and for nothing else',
    restore: 'asks you for a restore, and for the PIN again; for nothing else',
  },
  always: {
    never: 'asks you each time',
    restore: 'asks you each time, and for a restore for the PIN again',
    always: 'asks you each time, and for the PIN again',
  },
}

const attestations: Readonly<Record<HsmBinding['attestation'], string>> = {
  none: 'to dom0 as it is: it proves nothing about itself',
  tpm: 'only to a dom0 whose TPM says that it uses the sealed store',
  hardware: 'only to a dom0 whose TPM, proven to be hardware, says that it uses the sealed store',
}

function times(count: number): string {
  return count === 1 ? 'once' : `${count} times`
}

function listed(purposes: readonly ReleasePurpose[]): string {
  const last = purposes.at(-1) ?? ''
  return purposes.length < 2 ? last : `${purposes.slice(0, -1).join(', ')} and ${last}`
}
