import type { RepositoryKey } from '../crypto/aead.ts'
import { BackupHandThread } from './backup-hand-thread.ts'
import type { MovedPack } from './backup-thread.ts'
import { PacksAhead } from './pack-bodies.ts'
import { stopFlag } from './segments.ts'
import type { ThreadBudget, ThreadShare } from './thread-budget.ts'
import type { VolumeWork } from './volume-work.ts'

export interface BackupThreadsOptions {
  readonly budget: ThreadBudget
  readonly niceness: number
  readonly threadsMax: number | undefined
  readonly onPack: (pack: MovedPack) => void
  readonly onProgress: () => void
}

/**
 * The threads of one backup. They are all given the same work, and share it among them, those that have a turn. What is
 * started is what was of use.
 */
export class BackupThreads {
  readonly #share: ThreadShare
  readonly #hands: readonly BackupHandThread[]
  readonly #ahead: PacksAhead

  constructor(
    key: RepositoryKey,
    { budget, niceness, threadsMax, onPack, onProgress }: BackupThreadsOptions,
  ) {
    const share = budget.share(threadsMax)
    this.#share = share
    this.#ahead = new PacksAhead(() => share.packsAhead, budget.spareBodies)
    const options = { key, niceness, share, ahead: this.#ahead, onPack, onProgress }
    this.#hands = Array.from({ length: share.hands }, (_, number) => new BackupHandThread(number, options))
  }

  /** Resolves when the whole volume is done. The first failure stops all threads and is thrown when they have stopped. */
  async volume(work: VolumeWork): Promise<void> {
    const stop = (error: unknown) => {
      stopWork(work)
      throw error
    }
    const hands = this.#hands.map(hand =>
      hand
        .volume(work)
        .catch(stop)
        // Nothing is left for the others but what they are at.
        .finally(() => this.#excuse()),
    )
    await settled(hands)
  }

  /** Every thread hands over the pack that it has open. */
  async flush(): Promise<void> {
    await settled(this.#hands.map(hand => hand.flush()))
  }

  /** The buffer of a pack that is stored. */
  giveBack(body: Uint8Array<ArrayBuffer>): void {
    this.#ahead.give(body)
  }

  /** Lets threads that wait go on, so that they see that they were stopped. */
  release(): void {
    this.#excuse()
    this.#share.end()
    this.#ahead.release()
  }

  /** The threads zero their keys and end. Nothing may be under way. */
  end(): void {
    this.#share.end()
    for (const hand of this.#hands) hand.end()
  }

  #excuse(): void {
    for (const hand of this.#hands) hand.excuse()
  }
}

/** Threads take no further segment. */
export function stopWork({ segments }: VolumeWork): void {
  Atomics.store(new Int32Array(segments.control), stopFlag, 1)
}

/** Waits for all, then throws the first failure. */
async function settled(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(one => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}
