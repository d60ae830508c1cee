import { type ByteRange, endOf } from '../base/byte-range.ts'
import type { Log } from '../base/log.ts'
import type { VmName } from '../base/names.ts'
import type { RestoreChoice } from '../base/restore-choice.ts'
import type { ManifestVm, ManifestVolume } from '../repository/manifest.ts'
import { RestoreError } from './errors.ts'

export interface ChosenVolume {
  readonly vm: VmName
  readonly volume: ManifestVolume
  /** `null`: all of it. */
  readonly range: ByteRange | null
}

/**
 * The volumes that are meant. Whoever ordered may list the VM that the choice names, and learns which volumes that one
 * has; of no other VM does an error tell whether it is there. Throws `VOLUME_NOT_FOUND`, `RANGE_OUTSIDE`.
 */
export function volumesChosen(
  manifest: readonly ManifestVm[],
  { vm, volumes, range }: RestoreChoice,
  log: Log,
): readonly ChosenVolume[] {
  const every = manifest.flatMap(({ name, volumes }) => volumes.map(volume => ({ vm: name, volume, range })))
  if (vm === null) return every
  const ofVm = every.filter(one => one.vm === vm)
  const missing = volumes.filter(name => !ofVm.some(({ volume }) => volume.name === name))
  if (ofVm.length === 0 || missing.length > 0) {
    log.warn('a restore names what the snapshot does not have', {
      vm,
      volumes,
      snapshotHas: every.map(one => `${one.vm}/${one.volume.name}`),
    })
    const has = ofVm.map(({ volume }) => volume.name).join(', ')
    throw new RestoreError(
      'VOLUME_NOT_FOUND',
      ofVm.length === 0
        ? `the snapshot has no VM '${vm}'`
        : `the snapshot has no volume '${missing.join("', '")}' of '${vm}'; of this VM it has ${has}`,
    )
  }
  const chosen = ofVm.filter(
    ({ volume }) => volumes.length === 0 || volumes.some(name => name === volume.name),
  )
  for (const { volume } of chosen) requireWithin(volume, range)
  return chosen
}

function requireWithin({ name, bytes }: ManifestVolume, range: ByteRange | null): void {
  if (range !== null && endOf(range) > bytes)
    throw new RestoreError(
      'RANGE_OUTSIDE',
      `the range ends at ${endOf(range)}, and volume '${name}' at ${bytes}`,
    )
}
