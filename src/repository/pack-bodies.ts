import { release } from '../base/memory.ts'

/*
 * Buffers for packs, of 16 MiB and less. How many there are is the back-pressure of a backup, and bounds its memory.
 */

type Body = Uint8Array<ArrayBuffer>

/** Those that nobody uses, for all backups: there is nothing in them but what was sent to a storage. */
export class SpareBodies {
  readonly #max: () => number
  readonly #bodies: Body[] = []

  constructor(max: () => number) {
    this.#max = max
  }

  take(): Body | null {
    return this.#bodies.pop() ?? null
  }

  give(body: Body): void {
    if (this.#bodies.length < this.#max()) this.#bodies.push(body)
    else release(body)
  }

  clear(): void {
    for (const body of this.#bodies.splice(0)) release(body)
  }
}

/** The packs of one backup that are on their way to the storage; no other is begun while they are too many. */
export class PacksAhead {
  readonly #max: () => number
  readonly #spare: SpareBodies
  readonly #waiting: (() => void)[] = []
  #count = 0
  #released = false

  constructor(max: () => number, spare: SpareBodies) {
    this.#max = max
    this.#spare = spare
  }

  get hasRoom(): boolean {
    return this.#released || this.#count <= this.#max()
  }

  /** Calls `use` when another pack may be begun, which may be now. */
  whenRoom(use: () => void): void {
    if (this.hasRoom) use()
    else this.#waiting.push(use)
  }

  /** A buffer for a pack; `null`: there is none to spare, and one is to be made. */
  take(): Body | null {
    return this.#spare.take()
  }

  /** A pack is full and on its way. */
  add(): void {
    this.#count += 1
  }

  /** The buffer of a pack that is stored. */
  give(body: Body): void {
    this.#count -= 1
    this.#spare.give(body)
    while (this.hasRoom && this.#waiting.length > 0) this.#waiting.shift()?.()
  }

  /** Nobody waits any longer. */
  release(): void {
    this.#released = true
    for (const use of this.#waiting.splice(0)) use()
  }
}
