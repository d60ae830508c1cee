import { createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'

export const offsetKeyLength = 32
/** Offsets are multiples of this. */
export const offsetAlignment = 16

/**
 * AES-256-CTR from any offset on, for a file that is written once under a key of its own: the counter is the offset in blocks, and
 * no offset may be written twice. Proves nothing about what it decrypts.
 */
export class OffsetCipher {
  /** Other threads may be given it; it cannot be printed. */
  readonly key: KeyObject
  readonly #counter = Buffer.alloc(offsetAlignment)

  constructor(key: KeyObject) {
    this.key = key
  }

  static generate(entropy: Entropy): OffsetCipher {
    return OffsetCipher.take(entropy.bytes(offsetKeyLength))
  }

  /** Takes over the 32 bytes and zeroes them. */
  static take(bytes: Uint8Array): OffsetCipher {
    using secret = Secret.take(bytes)
    return new OffsetCipher(secret.expose(createSecretKey))
  }

  /** Encrypts or decrypts what stands at `offset`, into a buffer of its own. */
  apply(bytes: Uint8Array, offset: number): Buffer {
    if (offset % offsetAlignment !== 0) throw new RangeError('an offset in the middle of a block')
    this.#counter.writeUIntBE(offset / offsetAlignment, offsetAlignment - 6, 6)
    return createCipheriv('aes-256-ctr', this.key, this.#counter).update(bytes)
  }

  /** Hands out the bytes of the key, to be sealed, and zeroes the copy. */
  expose<R>(use: (bytes: Uint8Array) => R): R {
    const bytes = this.key.export()
    try {
      return use(bytes)
    } finally {
      bytes.fill(0)
    }
  }
}
