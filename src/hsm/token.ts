import type { Secret } from '../base/secret.ts'
import { Serially } from '../base/serially.ts'
import { HsmError } from './errors.ts'
import { count } from './token-counter.ts'
import { keptKeys } from './token-keeping.ts'
import { openToken } from './token-module.ts'
import type {
  CounterChange,
  TokenAddress,
  TokenDescription,
  TokenPublicKeys,
  TokenSealKey,
  Unwrapping,
} from './token-protocol.ts'
import type { TokenSession } from './token-session.ts'
import type { TokenSessions } from './token-sessions.ts'
import { makeSealKey, makeWitnessKey, seal, sealKey, signAsWitness, witnessKey } from './token-signing.ts'
import { agree, decrypt, makeWrappingKey, provenUnwrapping, wrappingKey } from './token-wrapping.ts'

/** One PKCS#11 token that has logged in: what it does for this product. Several calls at once, each in a session of its own. */
export class Token implements Disposable {
  readonly #sessions: TokenSessions
  /** Two calls that find a key missing must not make two. */
  readonly #making = new Serially()
  #unwrapping: Unwrapping | null = null

  private constructor(sessions: TokenSessions) {
    this.#sessions = sessions
  }

  /** Finds the token by its label and logs in, once. Throws `HsmError`, as all of this does. */
  static open(address: TokenAddress, pin: Secret, isCautious: boolean): Token {
    return new Token(openToken(address, pin, isCautious))
  }

  /** Makes the two keys where they are missing: inside the token, sensitive, and never to leave it. */
  generateKeys(): Promise<TokenPublicKeys> {
    return this.#making.run(async () => {
      await makeWrappingKey(this.#sessions)
      await this.#sessions.use('making the witness key', makeWitnessKey)
      return await this.publicKeys()
    })
  }

  publicKeys(): Promise<TokenPublicKeys> {
    return this.#sessions.use('reading the public keys', session => ({
      wrapping: wrappingKey(session),
      witness: witnessKey(session),
    }))
  }

  /** ECDH with the wrapping key: the x coordinate of the shared point. `peerPoint` is `04 || x || y`. */
  agree(peerPoint: Uint8Array): Promise<Secret> {
    return this.#sessions.use('the key agreement', session => agree(session, peerPoint))
  }

  /** RSA-OAEP with the wrapping key: the file key in an `ssh-rsa` stanza. */
  async decrypt(ciphertext: Uint8Array): Promise<Secret> {
    this.#unwrapping ??= await provenUnwrapping(this.#sessions)
    const unwrapping = this.#unwrapping
    if (unwrapping === null)
      throw new HsmError('HSM_MECHANISM_MISSING', 'the token does not decrypt with its RSA key')
    try {
      return await this.#sessions.use('decrypting', session => decrypt(session, unwrapping, ciphertext))
    } catch (error) {
      // Modules have all kinds of errors for what was not encrypted to them. If the key opens another, this one is at fault.
      if (!(error instanceof HsmError && error.code === 'HSM_TOKEN_FAILED')) throw error
      if ((await provenUnwrapping(this.#sessions)) !== unwrapping) throw error
      throw new HsmError('HSM_ENVELOPE_INVALID', 'the stanza for this token does not open')
    }
  }

  /** 64 bytes: Ed25519 with the witness key. */
  sign(message: Uint8Array): Promise<Uint8Array> {
    return this.#sessions.use('signing', session => signAsWitness(session, message))
  }

  /** The key by which its holder seals; made where it is missing and `make` says so. */
  sealKey(make: boolean): Promise<TokenSealKey | null> {
    return this.#making.run(async () => {
      if (make) await this.#sessions.use('making the sealing key', makeSealKey)
      return await this.#sessions.use('reading the sealing key', sealKey)
    })
  }

  /** 64 bytes with that key: Ed25519, or ECDSA P-256 over SHA-256 as `r || s`. */
  seal(message: Uint8Array): Promise<Uint8Array> {
    return this.#sessions.use('sealing', session => seal(session, message))
  }

  counter(change: CounterChange): Promise<number> {
    return this.#sessions.use('the counter', session => count(session, change))
  }

  /** Tried, not believed. */
  async describe(): Promise<TokenDescription> {
    const { wrapping } = await this.publicKeys()
    const opens = wrapping === null ? null : await provenUnwrapping(this.#sessions)
    return {
      opens,
      keys: await this.#sessions.use('looking at the keys', (session: TokenSession) => keptKeys(session)),
    }
  }

  [Symbol.dispose](): void {
    this.#sessions[Symbol.dispose]()
  }
}
