import type { VmName } from '../base/names.ts'

/**
 * What a range of a volume holds. Only what is known for sure; `data` says nothing and is always right. `hole`: zeros.
 * `unchanged`: byte for byte what it was in the state that was asked about.
 */
export interface Extent {
  readonly kind: 'data' | 'hole' | 'unchanged'
  readonly offset: number
  readonly length: number
}

/**
 * An opaque mark of a volume's state, for asking later what has changed since. As JSON at most 4 KiB. Only the kind of
 * source that made it understands it, and only on the same machine.
 */
export interface VolumeState {
  readonly source: string
  readonly mark: string
}

export interface FrozenVolume {
  readonly name: string
  /** Logical size in bytes, fixed while frozen. */
  readonly bytes: number
  /** This frozen moment, to be given as `since` another day; `null` where the host can tell nothing later. */
  readonly state: VolumeState | null
  /**
   * Ascending, gapless, covering the whole volume. `since`: an earlier state of the same volume. One that cannot be
   * related to this moment (of another volume or machine, of another size, or nothing is left of it) is taken as
   * `null`, which asks for holes and data only. What cannot be found out is `data`, never an error.
   */
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
  /**
   * Lets what the states of the named volumes stand on outlive thawing. To be called before disposing, for what was
   * read; what it returns is then the caller's to dispose of.
   */
  keep(volumes: readonly string[]): KeptStates
}

/** What a backup in progress leaves behind for the next one. Disposing without `commit` leaves what was kept before. */
export interface KeptStates extends AsyncDisposable {
  /**
   * To be called once the snapshot of these volumes is committed: the host keeps these states, one of each volume, and
   * lets go of those before. Never rejects: a failure goes to the log, and the next backup reads all.
   */
  commit(): Promise<void>
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
