import { CodedError } from '../base/errors.ts'
import type { Digest } from '../base/names.ts'
import type { ObjectReference } from '../repository/format.ts'
import { Lanes } from '../repository/lanes.ts'
import { type ObjectHead, objectName, type PrunableObjectStore } from '../storage/object-store.ts'

/*
 * The second half of a prune. The order is such that stock restic finds the repository sound after every step: a snapshot
 * goes before the index that it needs, an index before the packs that it names. What the storage does not remove yet
 * stays, and with it what it needs. Nothing is remembered of that: the next prune sees it in the storage's listing.
 */

/** What nobody needs any more. */
export interface Removal {
  readonly snapshots: readonly ObjectReference[]
  readonly index: readonly ObjectReference[]
  readonly packs: readonly ObjectReference[]
}

export interface Removed {
  readonly packs: number
  readonly bytes: number
  /** What is still there. */
  readonly left: number
  readonly leftBytes: number
}

export type RemovalProgress = (progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void

const removalsAtOnce = 4
/** More index objects than this that stay are not looked into: then every pack stays. */
const leftIndexMax = 2000

const kinds = { snapshots: 'snapshots', index: 'index', packs: 'data' } as const

export function listOf(removal: Removal): readonly ObjectHead[] {
  return (['snapshots', 'index', 'packs'] as const).flatMap(part =>
    removal[part].map(({ id, bytes }) => ({ name: objectName(kinds[part], id), bytes })),
  )
}

/**
 * Removes under the grant of ledger entry `entry`. `packsNamedBy` tells what an index object that stays names. Throws what
 * the store throws, except that it does not remove an object (yet).
 */
export async function removeObjects(
  store: PrunableObjectStore,
  removal: Removal,
  entry: number,
  packsNamedBy: (index: Digest) => Promise<readonly Digest[]>,
  onProgress: RemovalProgress,
  signal: AbortSignal,
): Promise<Removed> {
  const run = new Removing(store, removal, entry, onProgress, signal)
  const leftSnapshots = await run.remove('snapshots', removal.snapshots)
  if (leftSnapshots.length > 0) return run.end()
  const leftIndex = await run.remove('index', removal.index)
  if (leftIndex.length > leftIndexMax) return run.end()
  const named = new Set<Digest>()
  for (const { id } of leftIndex) for (const pack of await packsNamedBy(id)) named.add(pack)
  await run.remove(
    'packs',
    removal.packs.filter(({ id }) => !named.has(id)),
  )
  return run.end()
}

class Removing {
  readonly #store: PrunableObjectStore
  readonly #all: readonly ObjectHead[]
  readonly #entry: number
  readonly #onProgress: RemovalProgress
  readonly #signal: AbortSignal
  readonly #bytesTotal: number
  #count = 0
  #packs = 0
  #bytes = 0

  constructor(
    store: PrunableObjectStore,
    removal: Removal,
    entry: number,
    onProgress: RemovalProgress,
    signal: AbortSignal,
  ) {
    this.#store = store
    this.#all = listOf(removal)
    this.#entry = entry
    this.#onProgress = onProgress
    this.#signal = signal
    this.#bytesTotal = this.#all.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** Answers those that stay. */
  async remove(
    part: keyof typeof kinds,
    objects: readonly ObjectReference[],
  ): Promise<readonly ObjectReference[]> {
    const left: ObjectReference[] = []
    const lanes = new Lanes(removalsAtOnce)
    try {
      for (const object of objects) {
        await lanes.room()
        this.#signal.throwIfAborted()
        lanes.start(async () => {
          if (await this.#removeOne(part, object)) this.#note(part, object)
          else left.push(object)
        })
      }
      await lanes.idle()
    } finally {
      await lanes.settled()
    }
    return left
  }

  end(): Removed {
    return {
      packs: this.#packs,
      bytes: this.#bytes,
      left: this.#all.length - this.#count,
      leftBytes: this.#bytesTotal - this.#bytes,
    }
  }

  async #removeOne(part: keyof typeof kinds, { id }: ObjectReference): Promise<boolean> {
    const name = objectName(kinds[part], id)
    try {
      await this.#store.remove(name, { name, entry: this.#entry }, this.#signal)
      return true
    } catch (error) {
      if (isNotNow(error)) return false
      throw error
    }
  }

  #note(part: keyof typeof kinds, { bytes }: ObjectReference): void {
    this.#count += 1
    this.#bytes += bytes
    if (part === 'packs') this.#packs += 1
    this.#onProgress({ bytesDone: this.#bytes, bytesTotal: this.#bytesTotal })
  }
}

/** The storage keeps what it has for a while, or for ever. */
function isNotNow(error: unknown): boolean {
  return (
    error instanceof CodedError && (error.code === 'STORAGE_GRACE' || error.code === 'STORAGE_APPEND_ONLY')
  )
}
