import type { JobId, VmName, VolumeName } from '../base/names.ts'
import type { VolumeSink } from './volumes.ts'

/** A volume as it was restored, for a sandbox to look at; nobody writes to it any more. */
export interface RestoredVolume {
  readonly vm: VmName
  readonly volume: VolumeName
  /** Of a file or device of this host. */
  readonly path: string
  readonly bytes: number
}

/** Where one drill restores to. Disposing leaves nothing, on every path. */
export interface DrillRoom extends AsyncDisposable {
  readonly sink: VolumeSink
  /** After the sink was committed: ascending by VM and volume. */
  volumes(): Promise<readonly RestoredVolume[]>
}

export interface DrillRooms {
  begin(job: JobId): Promise<DrillRoom>
}
