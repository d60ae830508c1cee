import { availableParallelism } from 'node:os'
import type { Worker } from 'node:worker_threads'
import { MiB } from '../base/bytes.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { startKeyThread } from './key-thread.ts'
import type { ThreadAnswer } from './pack-thread.ts'
import { doPackWork, type PackWork } from './pack-work.ts'

/** More would only wait for the storage, and each has room of its own. */
const threadsMax = 4
/** Less is done sooner than a thread has started. */
const bytesAlone = 16 * MiB

interface Waiting {
  readonly work: PackWork
  readonly resolve: (plaintexts: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

/** Does `PackWork` on all cores, first come, first served. Threads start when there is enough to do for them. */
export class PackThreads implements Disposable {
  readonly #key: RepositoryKey
  readonly #threads: Thread[] = []
  readonly #waiting: Waiting[] = []
  #bytes = 0

  /** The key stays the caller's, and outlives this. */
  constructor(key: RepositoryKey) {
    this.#key = key
  }

  /** How many pieces of work it takes to keep all cores busy. */
  get width(): number {
    return Math.min(availableParallelism(), threadsMax)
  }

  /**
   * `untrustedBytes` of the work belong to a thread from here on, and may be empty afterwards. Throws what `doPackWork` does.
   */
  async do(work: PackWork): Promise<Uint8Array> {
    this.#bytes += work.untrustedBytes.byteLength
    if (this.#bytes <= bytesAlone) return doPackWork(this.#key, work)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, resolve, reject })
      this.#next()
    })
  }

  /** Ends the threads, which zero their copies of the key. Work that is not done is refused. */
  [Symbol.dispose](): void {
    for (const thread of this.#threads.splice(0)) thread.end()
    for (const { reject } of this.#waiting.splice(0)) reject(ended())
  }

  #next(): void {
    if (this.#waiting.length === 0) return
    const thread = this.#threads.find(thread => !thread.busy) ?? this.#start()
    const first = thread === null ? undefined : this.#waiting.shift()
    if (thread === null || first === undefined) return
    thread
      .do(first.work)
      // What a thread could not open is opened once more here, for the error that it throws.
      .then(({ plaintexts, untrustedBytes }) =>
        plaintexts !== null || untrustedBytes === null
          ? (plaintexts ?? new Uint8Array(0))
          : doPackWork(this.#key, { ...first.work, untrustedBytes }),
      )
      .then(first.resolve, first.reject)
      .finally(() => this.#next())
  }

  #start(): Thread | null {
    if (this.#threads.length >= this.width) return null
    const thread = new Thread(this.#key)
    this.#threads.push(thread)
    return thread
  }
}

/** One thread, one piece of work at a time. It keeps the process alive only while it works. */
class Thread {
  readonly #worker: Worker
  #settle: { resolve(answer: ThreadAnswer): void; reject(error: unknown): void } | null = null
  #gone = false

  constructor(key: RepositoryKey) {
    this.#worker = startKeyThread(new URL('./pack-thread.ts', import.meta.url), key)
    this.#worker.on('message', (answer: ThreadAnswer) => this.#take()?.resolve(answer))
    this.#worker.on('error', error => this.#take()?.reject(error))
    this.#worker.on('exit', () => {
      this.#gone = true
      this.#take()?.reject(ended())
    })
    this.#worker.unref()
  }

  get busy(): boolean {
    return this.#settle !== null
  }

  do(work: PackWork): Promise<ThreadAnswer> {
    if (this.#gone) return Promise.reject(ended())
    const untrustedBytes = owned(work.untrustedBytes)
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#worker.ref()
      this.#worker.postMessage({ ...work, untrustedBytes }, [untrustedBytes.buffer])
    })
  }

  end(): void {
    this.#worker.postMessage(null)
  }

  #take() {
    const settle = this.#settle
    this.#settle = null
    this.#worker.unref()
    return settle
  }
}

/** Only a whole buffer can be moved to another thread. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteLength } = bytes
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength
    ? new Uint8Array(buffer)
    : Uint8Array.from(bytes)
}

function ended(): Error {
  return new RangeError('the threads of a repository have ended')
}
