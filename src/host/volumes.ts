import type { VmName } from '../base/names.ts'

/** What a range of a volume holds. Only what is known for sure; `data` says nothing and is always right. */
export interface Extent {
  readonly kind: 'data' | 'hole' | 'unchanged'
  readonly offset: number
  readonly length: number
}

/** An opaque mark of a volume's state, for asking later what has changed since. */
export interface VolumeState {
  readonly source: string
  readonly mark: string
}

export interface FrozenVolume {
  readonly name: string
  /** Logical size in bytes, fixed while frozen. */
  readonly bytes: number
  /** Ascending, gapless, covering the whole volume. `since: null` asks for holes and data only. */
  extents(since: VolumeState | null, signal: AbortSignal): AsyncIterable<Extent>
  /** Fills `into` from `offset`; a short read throws `VOLUME_READ`. Concurrent reads are allowed. */
  read(into: Uint8Array, offset: number): Promise<void>
  /** A file or device that holds these bytes, for readers that open it themselves. */
  readonly path: string
}

/** A VM's volumes as they were at one moment. Disposing thaws, and throws `VOLUME_CHANGED` if that moment did not hold. */
export interface FrozenVm extends AsyncDisposable {
  readonly vm: VmName
  readonly volumes: readonly FrozenVolume[]
}

export interface VolumeSource {
  freeze(vm: VmName, signal: AbortSignal): Promise<FrozenVm>
}

/** A new volume being filled by a restore. */
export interface NewVolume {
  /** Writes at `offset`; ranges never written read as zeros and take no room. */
  write(bytes: Uint8Array, offset: number): Promise<void>
}

/** The new volumes of one restore: always beside what exists. Disposing without `commit` leaves nothing. */
export interface VolumeSink extends AsyncDisposable {
  create(vm: VmName, volume: string, bytes: number, signal: AbortSignal): Promise<NewVolume>
  /** Once: all volumes durable and visible, or none. Throws `VOLUME_EXISTS` where something has their place. */
  commit(): Promise<void>
}
