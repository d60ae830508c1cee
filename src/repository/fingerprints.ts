import type { KeyObject } from 'node:crypto'
import { gmac, gmacLength } from '../crypto/gmac.ts'
import { RepositoryError } from './errors.ts'

/*
 * A fingerprint of every chunk of a volume, in memory that all threads share: what tells the next backup cheaply that a chunk is what
 * it was. Whoever writes into the volume knows neither the key nor any fingerprint. Zeros have none.
 */

export interface SharedFingerprints {
  /** Posting it copies no key. */
  readonly key: KeyObject
  readonly tags: SharedArrayBuffer
}

export class Fingerprints {
  readonly share: SharedFingerprints
  readonly #tags: Buffer

  /** Takes part in what another thread's `share` gave. */
  constructor(share: SharedFingerprints) {
    this.share = share
    this.#tags = Buffer.from(share.tags)
  }

  static of(chunks: number, key: KeyObject): Fingerprints {
    return new Fingerprints({ key, tags: new SharedArrayBuffer(chunks * gmacLength) })
  }

  get key(): KeyObject {
    return this.share.key
  }

  take(plaintext: Uint8Array): Uint8Array {
    return gmac(this.key, plaintext)
  }

  set(chunk: number, fingerprint: Uint8Array): void {
    this.#tags.set(fingerprint, chunk * gmacLength)
  }

  is(chunk: number, fingerprint: Uint8Array): boolean {
    return this.#tags.compare(fingerprint, 0, gmacLength, chunk * gmacLength, (chunk + 1) * gmacLength) === 0
  }

  /** Of the same key. */
  equals(other: Fingerprints, chunk: number): boolean {
    return other.is(chunk, this.#of(chunk))
  }

  /** Takes those from `from` to before `to` as another list, of the same key, has them. */
  copy(other: Fingerprints, from: number, to: number): void {
    this.#tags.set(other.#tags.subarray(from * gmacLength, to * gmacLength), from * gmacLength)
  }

  /** All of them; `unpack` reads it back. */
  packed(): Uint8Array {
    return Uint8Array.from(this.#tags)
  }

  /** Throws `REPOSITORY_FORMAT` for what is not as many. */
  unpack(packed: Uint8Array): void {
    if (packed.byteLength !== this.#tags.byteLength)
      throw new RepositoryError('REPOSITORY_FORMAT', 'the record of fingerprints has another length')
    this.#tags.set(packed)
  }

  #of(chunk: number): Uint8Array {
    return this.#tags.subarray(chunk * gmacLength, (chunk + 1) * gmacLength)
  }
}
