import type { Milliseconds } from '../base/brand.ts'
import { equalConstantTime } from '../base/bytes.ts'
import { deadline } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { ed25519SignatureLength } from '../crypto/signature.ts'
import { HsmError, type HsmErrorCode } from './errors.ts'
import type { PinSource } from './pin.ts'
import { tokenAnswers } from './token-answers.ts'
import { TokenChannel } from './token-channel.ts'
import type {
  CounterChange,
  TokenAddress,
  TokenDescription,
  TokenPublicKeys,
  TokenRequest,
  TokenSealKey,
} from './token-protocol.ts'

const callMillisecondsDefault: Milliseconds = 10_000
const waitingMax = 32
const refusedPinsMax = 8
const sharedSecretLength = 32

export interface TokenProcessOptions extends TokenAddress {
  readonly pin: PinSource
  /** The whole environment of the token's process: paths such as `SOFTHSM2_CONF`, never a secret. */
  readonly environment?: Readonly<Record<string, string>>
  /** For each single call of the token. */
  readonly callMilliseconds?: Milliseconds
}

/** After these the login and the module's state are sound; after anything else the process is started anew. */
const harmless: ReadonlySet<HsmErrorCode> = new Set([
  'HSM_COUNTER_MISSING',
  'HSM_KEY_MISSING',
  'HSM_MECHANISM_MISSING',
  'HSM_TOKEN_AMBIGUOUS',
  'HSM_TOKEN_EXISTS',
])

/**
 * A token behind a process boundary: one call after another, each with a deadline. A module that hangs is ended
 * (`HSM_TIMEOUT`), one that crashes is noticed (`HSM_MODULE_CRASHED`), and the next call starts a new process and logs
 * in again. A PIN that the token refused is never sent to it a second time.
 */
export class TokenProcess implements Disposable {
  readonly #options: TokenProcessOptions
  readonly #refusedPins: Secret[] = []
  #channel: TokenChannel | null = null
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: TokenProcessOptions) {
    this.#options = options
  }

  /** Initialises the token with its two PINs, where there is none of that label. Throws `HSM_TOKEN_EXISTS`. */
  initialise(officerPin: Secret, pin: Secret, signal: AbortSignal): Promise<void> {
    return this.#serially(signal, async () => {
      const { modulePath, label } = this.#options
      const [officerCopy, copy] = [officerPin, pin].map(copyOf) as [Uint8Array, Uint8Array]
      try {
        await this.#ask(
          { operation: 'initialise', modulePath, label, officerPin: officerCopy, pin: copy },
          signal,
        )
      } finally {
        for (const one of [officerCopy, copy]) one.fill(0)
        this.#end() // the next call opens it
      }
    })
  }

  /** Makes the keys that are missing, and answers them all. */
  generateKeys(signal: AbortSignal): Promise<TokenPublicKeys> {
    return this.#call({ operation: 'generate' }, signal, tokenAnswers.publicKeys)
  }

  publicKeys(signal: AbortSignal): Promise<TokenPublicKeys> {
    return this.#call({ operation: 'publicKeys' }, signal, tokenAnswers.publicKeys)
  }

  /** The key by which its holder seals, made where it is missing and `make` says so; `null` where there is none. */
  sealKey(make: boolean, signal: AbortSignal): Promise<TokenSealKey | null> {
    return this.#call({ operation: 'sealKey', make }, signal, tokenAnswers.sealKey)
  }

  /** A signature with that key: Ed25519, or ECDSA P-256 over SHA-256 as `r || s`. */
  seal(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#call({ operation: 'seal', message }, signal, value =>
      tokenAnswers.bytes(value, ed25519SignatureLength),
    )
  }

  /** A number that the token keeps, for whoever has its PIN: outside of this VM's disk. Throws `HSM_COUNTER_MISSING`. */
  counter(change: CounterChange, signal: AbortSignal): Promise<number> {
    return this.#call({ operation: 'counter', change }, signal, tokenAnswers.count)
  }

  describe(signal: AbortSignal): Promise<TokenDescription> {
    return this.#call({ operation: 'describe' }, signal, tokenAnswers.description)
  }

  /** ECDH with the wrapping key; `peerPoint` is `04 || x || y` and on the curve. */
  agree(peerPoint: Uint8Array, signal: AbortSignal): Promise<Secret> {
    return this.#call({ operation: 'agree', peerPoint }, signal, value =>
      Secret.take(tokenAnswers.bytes(value, sharedSecretLength)),
    )
  }

  /** Ed25519 with the witness key. */
  sign(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#call({ operation: 'sign', message }, signal, value =>
      tokenAnswers.bytes(value, ed25519SignatureLength),
    )
  }

  [Symbol.dispose](): void {
    this.#end()
    for (const pin of this.#refusedPins) pin.dispose()
    this.#refusedPins.length = 0
  }

  #call<T>(request: TokenRequest, signal: AbortSignal, parse: (untrustedValue: unknown) => T): Promise<T> {
    return this.#serially(signal, async () => {
      if (this.#channel === null) await this.#open(signal)
      return parse(await this.#ask(request, signal))
    })
  }

  async #open(signal: AbortSignal): Promise<void> {
    const source = this.#options.pin
    using pin = await source.fetch(signal)
    if (this.#refusedPins.some(refused => samePin(refused, pin))) {
      source.refused()
      throw new HsmError('HSM_PIN_WRONG', 'the token has refused this PIN before; it is not tried again')
    }
    if (this.#refusedPins.length >= refusedPinsMax)
      throw new HsmError(
        'HSM_PIN_WRONG',
        `${refusedPinsMax} PINs were refused; restart the HSM VM to try another`,
      )
    const { modulePath, label } = this.#options
    const copy = copyOf(pin)
    try {
      await this.#ask({ operation: 'open', modulePath, label, pin: copy }, signal)
    } catch (error) {
      if (error instanceof HsmError && error.code === 'HSM_PIN_WRONG') {
        this.#refusedPins.push(Secret.take(copyOf(pin)))
        source.refused()
      }
      throw error
    } finally {
      copy.fill(0)
    }
  }

  async #ask(request: TokenRequest, signal: AbortSignal): Promise<unknown> {
    const { environment = {}, callMilliseconds = callMillisecondsDefault } = this.#options
    this.#channel ??= new TokenChannel(environment)
    const late = () =>
      new HsmError(
        'HSM_TIMEOUT',
        `no answer of the token to '${request.operation}' within ${callMilliseconds} ms`,
        {
          retry: true,
        },
      )
    try {
      using stop = deadline(callMilliseconds, late, signal)
      return await this.#channel.request(request, stop)
    } catch (error) {
      if (!(error instanceof HsmError && harmless.has(error.code))) this.#end()
      throw error
    }
  }

  #end(): void {
    this.#channel?.end()
    this.#channel = null
  }

  /** The module has one state and one session: calls wait for each other. */
  #serially<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax)
      return Promise.reject(
        new HsmError('HSM_BUSY', `${waitingMax} calls wait for the token`, { retry: true }),
      )
    this.#waiting += 1
    const result = this.#last
      .then(() => {
        signal.throwIfAborted()
        return work()
      })
      .finally(() => {
        this.#waiting -= 1
      })
    this.#last = result.catch(() => {})
    return result
  }
}

function copyOf(secret: Secret): Uint8Array {
  return secret.expose(bytes => bytes.slice())
}

function samePin(one: Secret, other: Secret): boolean {
  return one.expose(a => other.expose(b => equalConstantTime(a, b)))
}
