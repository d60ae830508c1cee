import { createHash, hash, webcrypto } from 'node:crypto'
import type { Digest } from '../base/names.ts'

export const sha256Length = 32

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', bytes, 'buffer'))
}

/** As `sha256`, of much at once, on another thread. */
export async function sha256Aside(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.digest('SHA-256', bytes))
}

/** 64 lower-case hex digits; for short inputs several times faster than `toHex(sha256(…))`. */
export function sha256Hex(bytes: Uint8Array): Digest {
  return hash('sha256', bytes, 'hex') as Digest
}

/** SHA-256 of what arrives in parts. `finish` may be called once. */
export class Sha256 {
  readonly #state = createHash('sha256')

  update(bytes: Uint8Array): this {
    this.#state.update(bytes)
    return this
  }

  finish(): Digest {
    return this.#state.digest('hex') as Digest
  }
}
