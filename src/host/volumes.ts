import type { ByteRange } from '../base/byte-range.ts'
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
  /** A file or device that holds these bytes; whoever reads it opens it by itself. */
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

/** Fills `into` from `offset`; `false` where it ends before. May be called again while it reads. */
export type ReadEarlier = (into: Uint8Array, offset: number) => Promise<boolean>

/** A new volume being filled by a restore. Nothing that it holds already may be taken for right. */
export interface NewVolume {
  /** Writes at `offset`; ranges never written take no room, and read as zeros unless something was left there. */
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** What an interrupted restore has left in its place; `null`: it reads as zeros. */
  readonly left: ReadEarlier | null
  /** The same volume as an earlier restore made it, elsewhere. */
  readonly reusable: ReadEarlier | null
}

/** Which volume, or which range of it: a new volume as long as the range. */
export interface NewVolumeName {
  readonly vm: VmName
  readonly volume: string
  readonly range: ByteRange | null
}

/**
 * The new volumes of one restore: always beside what exists, and visible only after `commit`. Disposing without it keeps
 * what can be gone on with, for a while.
 */
export interface VolumeSink extends AsyncDisposable {
  create(name: NewVolumeName, bytes: number, signal: AbortSignal): Promise<NewVolume>
  /** Once: all volumes durable and visible, or none. Throws `VOLUME_EXISTS` where something has their place. */
  commit(): Promise<void>
  /** Leaves nothing. */
  discard(): Promise<void>
}
