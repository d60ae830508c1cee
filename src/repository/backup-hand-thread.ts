import type { Worker } from 'node:worker_threads'
import type { RepositoryKey } from '../crypto/aead.ts'
import { HostError } from '../host/errors.ts'
import type { FromThread, MovedPack, ToThread } from './backup-thread.ts'
import { startKeyThread } from './key-thread.ts'
import type { PacksAhead } from './pack-bodies.ts'
import type { ThreadShare } from './thread-budget.ts'
import type { VolumeWork } from './volume-work.ts'

export interface HandOptions {
  readonly key: RepositoryKey
  readonly niceness: number
  readonly share: ThreadShare
  readonly ahead: PacksAhead
  readonly onPack: (pack: MovedPack) => void
  readonly onProgress: () => void
}

/**
 * What a hand is at. `queued`: it has not begun with the volume; `resting`: between two segments, because its turn was
 * over. In both it waits for a turn, and nothing is lost when there is nothing left to do by then.
 */
type Pose = 'idle' | 'queued' | 'working' | 'resting'

/** One hand of a share, and its thread, which starts with its first turn. One request at a time. */
export class BackupHandThread {
  readonly #number: number
  readonly #options: HandOptions
  #thread: Worker | null = null
  #pose: Pose = 'idle'
  #settle: { resolve(): void; reject(error: unknown): void } | null = null
  #gone: Error | null = null

  constructor(number: number, options: HandOptions) {
    this.#number = number
    this.#options = options
  }

  /** Resolves when nothing is left of the volume that nobody has taken, and what this hand took is done. */
  volume(work: VolumeWork): Promise<void> {
    const { share } = this.#options
    return this.#ask(() => {
      this.#pose = 'queued'
      share.take(this.#number, () => {
        this.#pose = 'working'
        this.#send({ kind: 'volume', work, asked: share.asked })
      })
    })
  }

  /** It needs no turn any more, other than to end what it is at. */
  excuse(): void {
    const pose = this.#pose
    if (pose !== 'queued' && pose !== 'resting') return
    this.#options.share.give(this.#number)
    if (pose === 'resting') this.#goOn()
    else this.#take()?.resolve()
  }

  /** Hands over the pack that is open. */
  async flush(): Promise<void> {
    if (this.#thread !== null) await this.#ask(() => this.#send({ kind: 'flush' }))
  }

  end(): void {
    if (this.#thread !== null) this.#send({ kind: 'end' })
  }

  #ask(send: () => void): Promise<void> {
    if (this.#gone !== null) return Promise.reject(this.#gone)
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      send()
    })
  }

  #hear(message: FromThread): void {
    switch (message.kind) {
      case 'progress':
        this.#options.onProgress()
        break
      case 'pack':
        this.#options.ahead.add()
        this.#options.onPack(message.pack)
        break
      case 'want-body':
        this.#giveBody()
        break
      case 'turn-over':
        this.#rest()
        break
      case 'done':
        this.#take()?.resolve()
        break
      case 'unreadable':
        this.#take()?.reject(new HostError('VOLUME_READ', message.message))
    }
  }

  /** While the storage is slower than the threads, the turn is another's. */
  #giveBody(): void {
    const { share, ahead } = this.#options
    if (!ahead.hasRoom) share.give(this.#number)
    ahead.whenRoom(() => {
      if (this.#gone === null)
        share.take(this.#number, () => this.#send({ kind: 'body', body: ahead.take() }))
    })
  }

  #rest(): void {
    const { share } = this.#options
    this.#pose = 'resting'
    share.take(this.#number, () => this.#goOn())
    // Of a backup one hand at most rests with a pack that is not full: more would only take memory.
    if (this.#pose === 'resting' && share.held > 0) this.#send({ kind: 'hand-over' })
  }

  #goOn(): void {
    this.#pose = 'working'
    this.#send({ kind: 'go-on' })
  }

  #send(message: ToThread): void {
    const moved = message.kind === 'body' && message.body !== null ? [message.body.buffer] : []
    try {
      this.#thread ??= this.#start()
      this.#thread.postMessage(message, moved)
    } catch (error) {
      // Whoever gave its turn back has no part in this.
      this.#leave(error)
    }
  }

  #start(): Worker {
    const { key, niceness } = this.#options
    const thread = startKeyThread(new URL('./backup-thread.ts', import.meta.url), key, niceness)
    thread.on('message', (message: FromThread) => this.#hear(message))
    thread.on('error', error => this.#leave(error))
    thread.on('exit', () => this.#leave(new RangeError('a thread of a backup has ended')))
    return thread
  }

  #leave(error: unknown): void {
    this.#gone ??= error instanceof Error ? error : new Error('a thread of a backup failed', { cause: error })
    this.#take()?.reject(this.#gone)
  }

  /** The request has ended, and with it the turn. */
  #take() {
    const settle = this.#settle
    this.#settle = null
    this.#pose = 'idle'
    this.#options.share.give(this.#number)
    return settle
  }
}
