import { KiB } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { ProfileError } from './errors.ts'
import { type Hours, parseHours } from './hours.ts'

const bindingBytesMax = 16 * KiB
/** Each is a key that somebody still relies on. */
const earlierEpochsMax = 64
const releasesPerDayMax = 10_000

const releasePurposes = ['backup', 'check', 'drill', 'restore', 'prune'] as const
export type ReleasePurpose = (typeof releasePurposes)[number]

/** One passphrase of a profile. */
export interface SealedEpoch {
  readonly epoch: number
  /** SHA-256 of the age file that holds the passphrase. */
  readonly envelope: Digest
}

/** For what a person is asked something: for nothing, for restores only, or each time. The later ones hold the earlier. */
const extents = ['never', 'restore', 'always'] as const
export type Extent = (typeof extents)[number]

/** How the HSM VM keeps and releases the passphrase of one profile. */
export interface HsmBinding extends SealedEpoch {
  /** For all but backups: what was stored before this epoch stays readable. By epoch, oldest first. */
  readonly earlier: readonly SealedEpoch[]
  /** Whether stock `qubes.BackupPassphrase` is answered too, for which there is no ledger entry. */
  readonly stockPassphrase: boolean
  readonly purposes: readonly ReleasePurpose[]
  /** In any 24 hours; `null`: no limit. */
  readonly releasesPerDay: number | null
  /** For what a person in the HSM VM is asked. */
  readonly approve: Extent
  /** For what she must give the PIN of the token again with her yes; never more than `approve`. */
  readonly pinAgain: Extent
  /** When it may be released, but for restores; `null`: at any time. */
  readonly hours: Hours | null
  /** Whether dom0 must prove by its TPM which sealed store it uses, and whether that TPM must be proven to be hardware. */
  readonly attestation: 'none' | 'tpm' | 'hardware'
}

const sealedEpoch = { epoch: is.integer(1), envelope: is.name(parseDigest) }
const shape = fields('binding', {
  ...sealedEpoch,
  earlier_epochs: is.optional(is.array(fields('earlier epoch', sealedEpoch), earlierEpochsMax)),
  stock_passphrase: is.boolean,
  purposes: is.array(is.literal(...releasePurposes), releasePurposes.length),
  releases_per_day: is.nullable(is.integer(1, releasesPerDayMax)),
  approve: is.optional(is.literal(...extents)),
  pin_again: is.optional(is.literal(...extents)),
  hours: is.optional(is.nullable(parseHours)),
  attestation: is.optional(is.literal('none', 'tpm', 'hardware')),
})

/** The epochs that can be read, the present one first. */
export function sealedEpochs({ epoch, envelope, earlier }: HsmBinding): readonly SealedEpoch[] {
  return [{ epoch, envelope }, ...earlier.toReversed()]
}

/** `hsm/PROFILE.json`. Throws a `CodedError`. */
export function parseBinding(untrustedBytes: Uint8Array): HsmBinding {
  const binding = shape(parseJson(untrustedBytes, { bytesMax: bindingBytesMax }))
  if (new Set(binding.purposes).size < binding.purposes.length)
    throw new ProfileError('CONFIGURATION_FILE_INVALID', "binding: 'purposes' names one twice")
  const earlier = [...(binding.earlier_epochs ?? [])].sort((one, other) => one.epoch - other.epoch)
  const numbers = [...earlier.map(({ epoch }) => epoch), binding.epoch]
  if (numbers.some((epoch, at) => epoch <= (numbers[at - 1] ?? 0)))
    throw new ProfileError(
      'CONFIGURATION_FILE_INVALID',
      "binding: 'earlier_epochs' names one twice, or one that is not before 'epoch'",
    )
  const { approve = 'never', pin_again: pinAgain = 'never' } = binding
  if (extents.indexOf(pinAgain) > extents.indexOf(approve))
    throw new ProfileError(
      'CONFIGURATION_FILE_INVALID',
      `binding: 'pin_again' is '${pinAgain}', and 'approve' is '${approve}': the PIN can be asked of a person only where one is asked`,
    )
  return {
    epoch: binding.epoch,
    envelope: binding.envelope,
    earlier,
    stockPassphrase: binding.stock_passphrase,
    purposes: binding.purposes,
    releasesPerDay: binding.releases_per_day,
    approve,
    pinAgain,
    hours: binding.hours ?? null,
    attestation: binding.attestation ?? 'none',
  }
}
