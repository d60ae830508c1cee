import { KiB } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { ProfileError } from './errors.ts'
import { type Hours, parseHours } from './hours.ts'

const bindingBytesMax = 16 * KiB
const releasesPerDayMax = 10_000

const releasePurposes = ['backup', 'check', 'drill', 'restore', 'prune'] as const
export type ReleasePurpose = (typeof releasePurposes)[number]

/** How the HSM VM keeps and releases the passphrase of one profile. */
export interface HsmBinding {
  /** The life of one passphrase; a higher one is a new repository. */
  readonly epoch: number
  /** SHA-256 of the age file that holds the passphrase. */
  readonly envelope: Digest
  /** Whether stock `qubes.BackupPassphrase` is answered too, for which there is no ledger entry. */
  readonly stockPassphrase: boolean
  readonly purposes: readonly ReleasePurpose[]
  /** In any 24 hours; `null`: no limit. */
  readonly releasesPerDay: number | null
  /** For what a person in the HSM VM is asked. */
  readonly approve: 'never' | 'restore' | 'always'
  /** When it may be released, but for restores; `null`: at any time. */
  readonly hours: Hours | null
  /** Whether dom0 must prove by its TPM which sealed store it uses, and whether that TPM must be proven to be hardware. */
  readonly attestation: 'none' | 'tpm' | 'hardware'
}

const shape = fields('binding', {
  epoch: is.integer(1),
  envelope: is.name(parseDigest),
  stock_passphrase: is.boolean,
  purposes: is.array(is.literal(...releasePurposes), releasePurposes.length),
  releases_per_day: is.nullable(is.integer(1, releasesPerDayMax)),
  approve: is.optional(is.literal('never', 'restore', 'always')),
  hours: is.optional(is.nullable(parseHours)),
  attestation: is.optional(is.literal('none', 'tpm', 'hardware')),
})

/** `hsm/PROFILE.json`. Throws a `CodedError`. */
export function parseBinding(untrustedBytes: Uint8Array): HsmBinding {
  const binding = shape(parseJson(untrustedBytes, { bytesMax: bindingBytesMax }))
  if (new Set(binding.purposes).size < binding.purposes.length)
    throw new ProfileError('CONFIGURATION_FILE_INVALID', "binding: 'purposes' names one twice")
  return {
    epoch: binding.epoch,
    envelope: binding.envelope,
    stockPassphrase: binding.stock_passphrase,
    purposes: binding.purposes,
    releasesPerDay: binding.releases_per_day,
    approve: binding.approve ?? 'never',
    hours: binding.hours ?? null,
    attestation: binding.attestation ?? 'none',
  }
}
