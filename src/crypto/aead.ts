import { type Cipheriv, createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { equalConstantTime } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import { Secret } from '../base/secret.ts'
import { CryptoError } from './errors.ts'
import { oneTimeKeyLength, poly1305, tagLength } from './poly1305.ts'

/*
 * restic's sealing, "Keys, Encryption and MAC" of its design document (https://restic.readthedocs.io/en/stable/
 * 100_references.html): `nonce || AES-256-CTR(plaintext) || Poly1305-AES tag over the ciphertext`. There is no
 * associated data: whoever opens an object must check by its content that it is what was asked for.
 */

const encryptionKeyLength = 32
const macKeyLength = 16
const nonceLength = 16
export const repositoryKeyLength = encryptionKeyLength + 2 * macKeyLength
/** How much longer a sealed object is than its plaintext. */
export const sealedOverheadBytes = nonceLength + tagLength

/** Bytes of `r` of which Poly1305 clears the upper four or the lower two bits (Bernstein 2005, section 2). */
const clampedUpper = [3, 7, 11, 15]
const clampedLower = [4, 8, 12]

/**
 * Keys as Node is fastest with them: bytes cost it 10 µs more each time. The cipher turns each block into one block, and has no
 * other state.
 */
interface Prepared {
  readonly encrypt: KeyObject
  readonly macK: Cipheriv
}

/** The three keys of a sealed object: `encrypt || mac.k || mac.r`. Zeroed when disposed. */
export class RepositoryKey implements Disposable {
  readonly #encrypt: Secret
  readonly #macK: Secret
  readonly #macR: Secret
  #prepared: Prepared | null = null

  /** Takes over the 64 bytes and zeroes them. Throws `KEY_INVALID`. */
  constructor(bytes: Uint8Array) {
    if (bytes.byteLength !== repositoryKeyLength)
      throw new CryptoError(
        'KEY_INVALID',
        `a repository key of ${bytes.byteLength} bytes; expected ${repositoryKeyLength}`,
      )
    const macR = bytes.subarray(encryptionKeyLength + macKeyLength)
    for (const at of clampedUpper) macR[at] = (macR[at] ?? 0) & 0x0f
    for (const at of clampedLower) macR[at] = (macR[at] ?? 0) & 0xfc
    this.#encrypt = Secret.take(bytes.subarray(0, encryptionKeyLength))
    this.#macK = Secret.take(bytes.subarray(encryptionKeyLength, encryptionKeyLength + macKeyLength))
    this.#macR = Secret.take(macR)
  }

  static generate(entropy: Entropy): RepositoryKey {
    return new RepositoryKey(entropy.bytes(repositoryKeyLength))
  }

  seal(plaintext: Uint8Array, entropy: Entropy): Uint8Array {
    const sealed = new Uint8Array(plaintext.byteLength + sealedOverheadBytes)
    this.sealInto(sealed, plaintext, entropy)
    return sealed
  }

  /** As `seal`, into exactly `plaintext.byteLength + sealedOverheadBytes` bytes of the caller. */
  sealInto(into: Uint8Array, plaintext: Uint8Array, entropy: Entropy): void {
    if (into.byteLength !== plaintext.byteLength + sealedOverheadBytes)
      throw new RangeError('a sealed object has exactly the overhead more than its plaintext')
    const nonce = entropy.bytes(nonceLength)
    const tagAt = into.byteLength - tagLength
    into.set(nonce)
    const ciphertext = createCipheriv('aes-256-ctr', this.#keys().encrypt, nonce).update(plaintext)
    into.set(ciphertext, nonceLength)
    // Memory that is given back at once is used again while it is warm: twice as fast as leaving it to the collector.
    release(ciphertext)
    into.set(this.#tag(nonce, into.subarray(nonceLength, tagAt)), tagAt)
  }

  /** The plaintext, in a buffer of its own. Throws `SEALED_TOO_SHORT` and `MAC_WRONG`; nothing is decrypted before. */
  open(untrustedSealed: Uint8Array): Uint8Array {
    const { nonce, ciphertext } = this.#genuine(untrustedSealed)
    return createDecipheriv('aes-256-ctr', this.#keys().encrypt, nonce).update(ciphertext)
  }

  /** That `open` would open it, without opening it. Throws `SEALED_TOO_SHORT` and `MAC_WRONG`. */
  requireGenuine(untrustedSealed: Uint8Array): void {
    this.#genuine(untrustedSealed)
  }

  /** Hands out the 64 bytes of the key, to be written into a key file, and zeroes the copy. */
  expose<R>(use: (bytes: Uint8Array) => R): R {
    const bytes = new Uint8Array(repositoryKeyLength)
    try {
      this.#encrypt.expose(part => bytes.set(part))
      this.#macK.expose(part => bytes.set(part, encryptionKeyLength))
      this.#macR.expose(part => bytes.set(part, encryptionKeyLength + macKeyLength))
      return use(bytes)
    } finally {
      bytes.fill(0)
    }
  }

  [Symbol.dispose](): void {
    this.#encrypt.dispose()
    this.#macK.dispose()
    this.#macR.dispose()
    // OpenSSL overwrites its copies when the collector takes them.
    this.#prepared = null
  }

  #keys(): Prepared {
    this.#prepared ??= {
      encrypt: this.#encrypt.expose(createSecretKey),
      macK: this.#macK.expose(key => createCipheriv('aes-128-ecb', key, null)),
    }
    return this.#prepared
  }

  #genuine(untrustedSealed: Uint8Array): { nonce: Uint8Array; ciphertext: Uint8Array } {
    const tagAt = untrustedSealed.byteLength - tagLength
    if (tagAt < nonceLength)
      throw new CryptoError(
        'SEALED_TOO_SHORT',
        `a sealed object of ${untrustedSealed.byteLength} bytes; at least ${sealedOverheadBytes} were expected`,
      )
    const nonce = untrustedSealed.subarray(0, nonceLength)
    const ciphertext = untrustedSealed.subarray(nonceLength, tagAt)
    if (!equalConstantTime(this.#tag(nonce, ciphertext), untrustedSealed.subarray(tagAt)))
      throw new CryptoError(
        'MAC_WRONG',
        'a sealed object does not open: it was changed, or the key is another',
      )
    return { nonce, ciphertext }
  }

  /** Poly1305-AES: the one-time key is `r || AES-128_k(nonce)`. */
  #tag(nonce: Uint8Array, ciphertext: Uint8Array): Uint8Array {
    const oneTimeKey = new Uint8Array(oneTimeKeyLength)
    this.#macR.expose(r => oneTimeKey.set(r))
    oneTimeKey.set(this.#keys().macK.update(nonce), macKeyLength)
    const tag = poly1305(oneTimeKey, ciphertext)
    oneTimeKey.fill(0)
    return tag
  }
}
