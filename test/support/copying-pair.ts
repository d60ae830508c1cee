import { Duplex } from 'node:stream'

/**
 * Two ends of a connection, as `duplexPair`, but what is read is a copy of what was written, as over a socket: whoever
 * writes may zero its bytes once they have been taken.
 */
export function copyingPair(): [Duplex, Duplex] {
  const near = new End()
  const far = new End()
  near.peer = far
  far.peer = near
  return [near, far]
}

class End extends Duplex {
  peer: End | null = null
  #taken: (() => void) | null = null

  override _read(): void {
    const taken = this.#taken
    this.#taken = null
    taken?.()
  }

  override _write(part: Buffer, _encoding: string, done: () => void): void {
    if (this.peer === null || this.peer.#receive(Buffer.from(part))) done()
    else this.peer.#taken = done
  }

  override _final(done: () => void): void {
    this.peer?.push(null)
    done()
  }

  /** One end that breaks off ends the other. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this
    if (peer !== null && !peer.destroyed) process.nextTick(() => peer.destroy())
    // As a socket: what was being written is called back.
    this._read()
    peer?._read()
    done(error)
  }

  #receive(part: Buffer): boolean {
    return this.push(part)
  }
}
