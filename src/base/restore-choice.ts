import { BaseError } from './base-errors.ts'
import type { ByteRange } from './byte-range.ts'
import type { JobId, VmName, VolumeName } from './names.ts'

/** What of a snapshot is restored, as it is ordered. */
export interface RestoreChoice {
  /** `null`: every VM. */
  readonly vm: VmName | null
  /** Volumes of that VM; none: all that it has. */
  readonly volumes: readonly VolumeName[]
  /** Of the one volume. */
  readonly range: ByteRange | null
  /** An earlier restore, from which is taken what is the same. */
  readonly reuse: JobId | null
}

export const wholeSnapshot: RestoreChoice = { vm: null, volumes: [], range: null, reuse: null }

/** Of one VM at most; more are never in a snapshot. */
export const volumesChosenMax = 16

/** Throws `FIELD_INVALID` for a choice that says nothing clear. */
export function requireConsistent({ vm, volumes, range, reuse }: RestoreChoice): void {
  if (volumes.length > 0 && vm === null) throw wrong('volumes are chosen of a VM: name it too')
  if (range !== null && volumes.length !== 1) throw wrong('a range is of one volume: name it and its VM')
  if (range !== null && reuse !== null) throw wrong('a range is fetched anew: it reuses no earlier restore')
}

function wrong(message: string): BaseError {
  return new BaseError('FIELD_INVALID', message)
}
