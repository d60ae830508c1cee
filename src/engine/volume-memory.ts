import type { Log } from '../base/log.ts'
import type { SnapshotId, VmName } from '../base/names.ts'
import type { FrozenVolume } from '../host/volumes.ts'
import type { EarlierContent } from '../repository/volume-plan.ts'
import type { VolumeResult } from '../repository/writer.ts'
import type { ContentCache, FoundContent } from './content-cache.ts'

interface Found extends FoundContent {
  readonly vm: VmName
  readonly name: string
}

/** What one backup knows of volumes from the one before, and what it will leave to the next. */
export class VolumeMemory {
  readonly #cache: ContentCache
  readonly #isCurrent: (snapshot: SnapshotId) => boolean
  readonly #log: Log
  readonly #found: Found[] = []

  constructor(cache: ContentCache, isCurrent: (snapshot: SnapshotId) => boolean, log: Log) {
    this.#cache = cache
    this.#isCurrent = isCurrent
    this.#log = log
  }

  earlier(vm: VmName, { name }: Pick<FrozenVolume, 'name'>): Promise<EarlierContent | null> {
    return this.#cache.load(vm, name, this.#isCurrent)
  }

  found(
    vm: VmName,
    { state }: Pick<FrozenVolume, 'state'>,
    { name, content, fingerprints }: VolumeResult,
    earlier: EarlierContent | null,
  ) {
    this.#found.push({ vm, name, content, fingerprints, state, turn: (earlier?.turn ?? -1) + 1 })
  }

  /** The snapshot is in the ledger. Never rejects: what is not remembered is read the next time. */
  async commit(snapshot: SnapshotId): Promise<void> {
    for (const { vm, name, ...found } of this.#found)
      await this.#cache.save(vm, name, snapshot, found).catch(async error => {
        this.#log.warn('what a volume holds could not be remembered', { vm, volume: name, error })
        await this.#cache.forget(vm, name).catch(() => {})
      })
  }

  /** The host was wrong about a volume: nothing that it said counts any more. */
  async distrust(): Promise<void> {
    await this.#cache.clear()
  }
}
