import { type Cipheriv, createCipheriv, createHash } from 'node:crypto'

/** An endless row of random numbers and incompressible bytes (AES-CTR), the same for the same label. */
export class Random {
  readonly #cipher: Cipheriv
  #pool: Buffer = Buffer.alloc(0)
  #at = 0

  constructor(label: string) {
    const key = createHash('sha256').update(label).digest()
    this.#cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  }

  bytes(length: number): Buffer {
    return this.#cipher.update(Buffer.alloc(length))
  }

  /** From 0 to `end - 1`. */
  below(end: number): number {
    if (this.#at + 4 > this.#pool.byteLength) {
      this.#pool = this.bytes(65536)
      this.#at = 0
    }
    const value = this.#pool.readUInt32LE(this.#at)
    this.#at += 4
    return Math.floor((value / 2 ** 32) * end)
  }

  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  pick<T>(list: readonly T[]): T {
    const one = list[this.below(list.length)]
    if (one === undefined) throw new Error('nothing to pick from')
    return one
  }
}
