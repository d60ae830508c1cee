import { onAbort } from './on-abort.ts'

/** Leaves again what it came through with. May be called more than once. */
export type Leave = () => void

interface Waiting {
  readonly bytes: number
  readonly admit: () => void
}

/** Bounds how many requests, and how many bytes of theirs, are held at once. First come, first served. */
export class Gate {
  readonly #countMax: number
  readonly #bytesMax: number
  readonly #waiting: Waiting[] = []
  #count = 0
  #bytes = 0

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax
    this.#bytesMax = bytesMax
  }

  /** A request larger than everything that is allowed passes alone. Rejects with the signal's reason. */
  async enter(bytesWanted: number, signal: AbortSignal): Promise<Leave> {
    signal.throwIfAborted()
    const bytes = Math.min(bytesWanted, this.#bytesMax)
    if (this.#waiting.length > 0 || !this.#fits(bytes)) await this.#wait(bytes, signal)
    else this.#admit(bytes)
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      this.#count -= 1
      this.#bytes -= bytes
      this.#next()
    }
  }

  #wait(bytes: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        bytes,
        admit: () => {
          stopListening()
          resolve()
        },
      }
      const stopListening = onAbort(signal, () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(signal.reason)
        this.#next()
      })
      this.#waiting.push(waiting)
    })
  }

  #next(): void {
    for (
      let first = this.#waiting[0];
      first !== undefined && this.#fits(first.bytes);
      first = this.#waiting[0]
    ) {
      this.#waiting.shift()
      this.#admit(first.bytes)
      first.admit()
    }
  }

  #fits(bytes: number): boolean {
    return this.#count < this.#countMax && this.#bytes + bytes <= this.#bytesMax
  }

  #admit(bytes: number): void {
    this.#count += 1
    this.#bytes += bytes
  }
}
