import { availableParallelism } from 'node:os'
import type { Worker } from 'node:worker_threads'
import type { RepositoryKey } from '../crypto/aead.ts'
import { HostError } from '../host/errors.ts'
import type { FromThread, MovedPack, ToThread } from './backup-thread.ts'
import type { VolumeWork } from './backup-work.ts'
import { startKeyThread } from './key-thread.ts'
import { stopFlag } from './segments.ts'

/** More would only wait for the disk and for the storage, and each has buffers of its own. */
const threadsMax = 8

export interface BackupThreadsOptions {
  /** Packs that may be on their way beside those that are being filled. */
  readonly packsAhead: number
  readonly onPack: (pack: MovedPack) => void
  readonly onProgress: () => void
}

/** The threads of one backup. They are all given the same work, and share it among them. */
export class BackupThreads {
  readonly #hands: readonly Hand[]
  readonly #bodies: BodyPool

  constructor(key: RepositoryKey, options: BackupThreadsOptions) {
    const width = BackupThreads.width
    this.#bodies = new BodyPool(width + options.packsAhead)
    this.#hands = Array.from({ length: width }, () => new Hand(key, options, this.#bodies))
  }

  static get width(): number {
    return Math.min(availableParallelism(), threadsMax)
  }

  /** Resolves when the whole volume is done. The first failure stops all threads and is thrown when they have stopped. */
  async volume(work: VolumeWork): Promise<void> {
    const stop = (error: unknown) => {
      stopWork(work)
      throw error
    }
    await settled(this.#hands.map(hand => hand.ask({ kind: 'volume', work }).catch(stop)))
  }

  /** Every thread hands over the pack that it has open. */
  async flush(): Promise<void> {
    await settled(this.#hands.map(hand => hand.ask({ kind: 'flush' })))
  }

  /** The buffer of a pack that is stored. */
  giveBack(body: Uint8Array<ArrayBuffer>): void {
    this.#bodies.give(body)
  }

  /** Lets threads that wait for a buffer go on, so that they see that they were stopped. */
  release(): void {
    this.#bodies.release()
  }

  /** The threads zero their keys and end. Nothing may be under way. */
  end(): void {
    for (const hand of this.#hands) hand.end()
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

/** Buffers for packs: their number is the back-pressure of a backup. A thread that gets `null` makes one. */
class BodyPool {
  readonly #free: Uint8Array<ArrayBuffer>[] = []
  readonly #waiting: ((body: Uint8Array<ArrayBuffer> | null) => void)[] = []
  #left: number
  #released = false

  constructor(max: number) {
    this.#left = max
  }

  take(use: (body: Uint8Array<ArrayBuffer> | null) => void): void {
    const body = this.#free.pop()
    if (body !== undefined || this.#left > 0 || this.#released) {
      if (body === undefined) this.#left -= 1
      use(body ?? null)
    } else this.#waiting.push(use)
  }

  give(body: Uint8Array<ArrayBuffer>): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(body)
    else next(body)
  }

  release(): void {
    this.#released = true
    for (const use of this.#waiting.splice(0)) use(null)
  }
}

/** One thread, one request at a time. */
class Hand {
  readonly #thread: Worker
  #settle: { resolve(): void; reject(error: unknown): void } | null = null
  #gone: Error | null = null

  constructor(key: RepositoryKey, { onPack, onProgress }: BackupThreadsOptions, bodies: BodyPool) {
    this.#thread = startKeyThread(new URL('./backup-thread.ts', import.meta.url), key)
    this.#thread.on('message', (message: FromThread) => {
      if (message.kind === 'progress') onProgress()
      else if (message.kind === 'pack') onPack(message.pack)
      else if (message.kind === 'want-body') bodies.take(body => this.#send({ kind: 'body', body }))
      else if (message.kind === 'done') this.#take()?.resolve()
      else this.#take()?.reject(new HostError('VOLUME_READ', message.message))
    })
    this.#thread.on('error', error => this.#leave(error))
    this.#thread.on('exit', () => this.#leave(new RangeError('a thread of a backup has ended')))
  }

  ask(message: ToThread): Promise<void> {
    if (this.#gone !== null) return Promise.reject(this.#gone)
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#send(message)
    })
  }

  end(): void {
    this.#send({ kind: 'end' })
  }

  #send(message: ToThread): void {
    const moved = message.kind === 'body' && message.body !== null ? [message.body.buffer] : []
    this.#thread.postMessage(message, moved)
  }

  #leave(error: unknown): void {
    this.#gone ??= error instanceof Error ? error : new Error('a thread of a backup failed', { cause: error })
    this.#take()?.reject(this.#gone)
  }

  #take() {
    const settle = this.#settle
    this.#settle = null
    return settle
  }
}
