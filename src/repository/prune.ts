import type { Entropy } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import type { Digest } from '../base/names.ts'
import type { ObjectStore } from '../storage/object-store.ts'
import type { ObjectReference } from './format.ts'
import type { IndexedPack } from './index.ts'
import type { TablePack } from './index-table-reader.ts'
import { IndexWriter, type WrittenIndex } from './index-writer.ts'
import { neededBlobs } from './live-blobs.ts'
import { type Fate, sum } from './pack-fates.ts'
import { PackRewriter } from './pack-rewriter.ts'
import type { PrunePlan, PruneSource } from './prune-plan.ts'

/*
 * The first half of a prune: new packs and a new index beside the old, all durable. Nothing is removed, and nobody uses
 * what is new: that begins when the ledger says so. What is left after a crash are objects that no index in force names.
 */

export interface Rewritten {
  /** In place of the index objects of `plan.replaced`. */
  readonly index: readonly WrittenIndex[]
  /** New packs. */
  readonly added: readonly ObjectReference[]
  /** Old packs whose blobs are in `added`. */
  readonly rewritten: readonly ObjectReference[]
  /** Old packs that no index will name: `rewritten`, and those of which nothing is needed. */
  readonly dropped: readonly ObjectReference[]
  /** How many packs were to be rewritten and stay, because the storage had no room. */
  readonly leftForWantOfRoom: number
}

/** Bytes of packs that were to be rewritten. */
export type RewriteProgress = (progress: { readonly bytesDone: number; readonly bytesTotal: number }) => void

/**
 * Copies what is needed of packs that are rewritten, then stores the index. A storage that is full ends the copying
 * and not the prune: what could not be copied stays where it is. Throws what reading and storing throw.
 */
export async function rewrite(
  source: PruneSource,
  plan: PrunePlan,
  store: ObjectStore,
  entropy: Entropy,
  onProgress: RewriteProgress,
  signal: AbortSignal,
): Promise<Rewritten> {
  const run = new Rewriting(source, plan, store, entropy, signal)
  const bytesTotal = sum(packsOfFate(plan, 'rewrite'), ({ bytes }) => bytes)
  const replaced = new Set(plan.replaced.flatMap(({ index }) => index.map(({ id }) => id)))
  let bytesDone = 0
  for await (const pack of source.table.packs()) {
    const index = source.table.indexes[pack.index]
    // A pack that two indexes name is taken once.
    if (pack.repeats || index === undefined || !replaced.has(index)) continue
    signal.throwIfAborted()
    if ((await run.take(pack)) !== 'rewrite') continue
    bytesDone += plan.packs.get(pack.id)?.bytes ?? 0
    onProgress({ bytesDone, bytesTotal })
  }
  return run.finish()
}

class Rewriting {
  readonly #plan: PrunePlan
  readonly #signal: AbortSignal
  readonly #packs: PackRewriter
  readonly #index: IndexWriter
  readonly #stayed = new Set<Digest>()
  #full = false

  constructor(
    { repository }: PruneSource,
    plan: PrunePlan,
    store: ObjectStore,
    entropy: Entropy,
    signal: AbortSignal,
  ) {
    this.#plan = plan
    this.#signal = signal
    this.#packs = new PackRewriter(repository, store, entropy)
    this.#index = new IndexWriter(repository, store, entropy)
  }

  async take(pack: TablePack): Promise<Fate> {
    const fate = this.#plan.fates.get(pack.id) ?? 'keep'
    if (fate === 'keep') await this.#index.add(pack, this.#signal)
    if (fate !== 'rewrite') return fate
    if (this.#full) await this.#stay(pack)
    else {
      const needed = neededBlobs(this.#plan.needed, pack)
      await this.#orStay(() => this.#packs.copy(pack, needed, this.#signal))
      await this.#indexNew()
    }
    return fate
  }

  async finish(): Promise<Rewritten> {
    await this.#orStay(() => this.#packs.flush(this.#signal))
    await this.#indexNew()
    const rewritten = packsOfFate(this.#plan, 'rewrite').filter(({ id }) => !this.#stayed.has(id))
    return {
      index: await this.#index.finish(this.#signal),
      added: this.#packs.written,
      rewritten,
      dropped: [...rewritten, ...packsOfFate(this.#plan, 'remove')],
      leftForWantOfRoom: this.#stayed.size,
    }
  }

  async #orStay(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof CodedError && error.kind === 'full')) throw error
      this.#full = true
      for (const pack of this.#packs.giveUp()) await this.#stay(pack)
    }
  }

  async #stay(pack: IndexedPack): Promise<void> {
    this.#stayed.add(pack.id)
    await this.#index.add(pack, this.#signal)
  }

  async #indexNew(): Promise<void> {
    for (const pack of this.#packs.takeReady()) await this.#index.add(pack, this.#signal)
  }
}

export function packsOfFate(
  { packs, fates }: PrunePlan,
  fate: 'rewrite' | 'remove',
): readonly ObjectReference[] {
  return [...packs.values()]
    .filter(({ id }) => fates.get(id) === fate)
    .map(({ id, bytes }) => ({ id, bytes }))
}
