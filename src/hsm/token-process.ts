import type { Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { Serially } from '../base/serially.ts'
import { ed25519SignatureLength } from '../crypto/signature.ts'
import { HsmError, type HsmErrorCode } from './errors.ts'
import { fileKeyLength } from './oaep.ts'
import type { PinSource } from './pin.ts'
import { type PinRefusals, refusalsInMemory, refusedPinsMax } from './pin-refusals.ts'
import { Places } from './places.ts'
import { tokenAnswers } from './token-answers.ts'
import { TokenChannel } from './token-channel.ts'
import {
  type CounterChange,
  type InspectedToken,
  sessionsMax,
  type TokenAddress,
  type TokenDescription,
  type TokenPublicKeys,
  type TokenRequest,
  type TokenSealKey,
} from './token-protocol.ts'

const callMillisecondsDefault: Milliseconds = 10_000
const waitingMax = 32
const sharedSecretLength = 32

export interface TokenProcessOptions extends Omit<TokenAddress, 'moduleParameters'> {
  /** What the module is given at C_Initialize; none where absent. */
  readonly moduleParameters?: string | null
  readonly pin: PinSource
  /** Where PINs that nobody types are remembered when they were refused; for as long as this lives where absent. */
  readonly refusals?: PinRefusals
  /** The whole environment of the token's process: paths such as `SOFTHSM2_CONF`, never a secret. */
  readonly environment?: Readonly<Record<string, string>>
  /** For each single call of the token. */
  readonly callMilliseconds?: Milliseconds
}

/** After these the login and the module's state are sound; after anything else the process is started anew. */
const harmless: ReadonlySet<HsmErrorCode> = new Set([
  'HSM_COUNTER_MISSING',
  'HSM_ENVELOPE_INVALID',
  'HSM_KEY_MISSING',
  'HSM_MECHANISM_MISSING',
  'HSM_TOKEN_AMBIGUOUS',
  'HSM_TOKEN_FULL',
  'HSM_TOKEN_READ_ONLY',
])

/**
 * A token behind a process boundary: a few calls at once, each with a deadline. A module that hangs is ended
 * (`HSM_TIMEOUT`), one that crashes is noticed (`HSM_MODULE_CRASHED`), and the next call starts a new process and logs
 * in again. A PIN that the token refused is never sent to it a second time.
 */
export class TokenProcess implements Disposable {
  readonly #options: TokenProcessOptions
  readonly #typed = refusalsInMemory()
  readonly #kept: PinRefusals
  readonly #channels = new Set<TokenChannel>()
  /** The one that has logged in. */
  #channel: TokenChannel | null = null
  readonly #opening = new Serially()
  readonly #places = new Places(sessionsMax, waitingMax)

  constructor(options: TokenProcessOptions) {
    this.#options = options
    this.#kept = options.refusals ?? refusalsInMemory()
  }

  /** Initialises the token with its two PINs, where there is none of that label. Throws `HSM_TOKEN_EXISTS`. */
  async initialise(officerPin: Secret, pin: Secret, signal: AbortSignal): Promise<void> {
    const [officerCopy, copy] = [officerPin, pin].map(copyOf) as [Uint8Array, Uint8Array]
    try {
      await this.#alone(
        { operation: 'initialise', ...this.#address, officerPin: officerCopy, pin: copy },
        signal,
      )
      await this.#kept.clear()
    } finally {
      for (const one of [officerCopy, copy]) one.fill(0)
    }
  }

  /** What the token tells without a PIN. */
  async inspect(signal: AbortSignal): Promise<InspectedToken> {
    return tokenAnswers.inspected(await this.#alone({ operation: 'inspect', ...this.#address }, signal))
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

  /** The file key in the body of an `ssh-rsa` stanza, by RSA with the wrapping key. */
  decrypt(ciphertext: Uint8Array, signal: AbortSignal): Promise<Secret> {
    return this.#call({ operation: 'decrypt', ciphertext }, signal, value =>
      Secret.take(tokenAnswers.bytes(value, fileKeyLength)),
    )
  }

  /** Ed25519 with the witness key. */
  sign(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    return this.#call({ operation: 'sign', message }, signal, value =>
      tokenAnswers.bytes(value, ed25519SignatureLength),
    )
  }

  [Symbol.dispose](): void {
    for (const channel of this.#channels) channel.end()
    this.#channel = null
  }

  get #address(): TokenAddress {
    const { modulePath, moduleParameters = null, label } = this.#options
    return { modulePath, moduleParameters, label }
  }

  #call<T>(request: TokenRequest, signal: AbortSignal, parse: (untrustedValue: unknown) => T): Promise<T> {
    return this.#places.use(signal, async () => {
      const channel = await this.#opened(signal)
      return parse(await this.#ask(channel, request, signal))
    })
  }

  /** In a process of its own, which has not logged in. */
  async #alone(request: TokenRequest, signal: AbortSignal): Promise<unknown> {
    return await this.#places.use(signal, async () => {
      const channel = this.#start()
      try {
        return await this.#ask(channel, request, signal)
      } finally {
        this.#retire(channel)
      }
    })
  }

  /** Calls that come at once log in once: each waits for the one before, and does it itself if that one has failed. */
  #opened(signal: AbortSignal): Promise<TokenChannel> {
    return this.#opening.run(async () => {
      signal.throwIfAborted()
      this.#channel ??= await this.#open(signal)
      return this.#channel
    })
  }

  async #open(signal: AbortSignal): Promise<TokenChannel> {
    const source = this.#options.pin
    const refusals = source.isAttended ? this.#typed : this.#kept
    using pin = await source.fetch(signal)
    const before = await refusals.find(pin)
    if (before === 'refused') {
      source.refused()
      throw new HsmError('HSM_PIN_WRONG', 'the token has refused this PIN before; it is not tried again', {
        hint: 'put another in place; if this one is right, a person gives it: `strongroom hsm pin`',
      })
    }
    if ((await refusals.count()) >= refusedPinsMax)
      throw new HsmError(
        'HSM_PIN_WRONG',
        `${refusedPinsMax} PINs were refused; no more are tried without a person`,
      )
    await refusals.note(pin, 'unknown')
    const copy = copyOf(pin)
    const channel = this.#start()
    const isCautious = before === 'unknown'
    try {
      await this.#ask(channel, { operation: 'open', ...this.#address, pin: copy, isCautious }, signal)
      await this.#typed.clear()
      await this.#kept.clear()
      return channel
    } catch (error) {
      this.#retire(channel)
      if (isPinWrong(error)) {
        source.refused()
        // It was not sent: whoever is asked anew may give it again.
        await (isCautious && source.isAttended ? refusals.forget(pin) : refusals.note(pin, 'refused'))
      } else if (isAnswer(error)) await refusals.forget(pin)
      throw error
    } finally {
      copy.fill(0)
    }
  }

  async #ask(channel: TokenChannel, request: TokenRequest, signal: AbortSignal): Promise<unknown> {
    const { callMilliseconds = callMillisecondsDefault } = this.#options
    const late = () =>
      new HsmError(
        'HSM_TIMEOUT',
        `no answer of the token to '${request.operation}' within ${callMilliseconds} ms`,
        { retry: true },
      )
    try {
      using stop = deadline(callMilliseconds, late, signal)
      return await channel.request(request, stop)
    } catch (error) {
      if (!(error instanceof HsmError && harmless.has(error.code))) this.#retire(channel)
      throw error
    }
  }

  #start(): TokenChannel {
    const channel = new TokenChannel(this.#options.environment ?? {}, () => this.#channels.delete(channel))
    this.#channels.add(channel)
    return channel
  }

  /** Others may still wait for an answer of it, which they get. */
  #retire(channel: TokenChannel): void {
    if (channel === this.#channel) this.#channel = null
    channel.retire()
  }
}

/** The token itself refused the PIN. */
function isPinWrong(error: unknown): boolean {
  return error instanceof HsmError && error.code === 'HSM_PIN_WRONG'
}

/** How it ended is known, and it was not the PIN. */
function isAnswer(error: unknown): boolean {
  return error instanceof HsmError && error.code !== 'HSM_TIMEOUT' && error.code !== 'HSM_MODULE_CRASHED'
}

function copyOf(secret: Secret): Uint8Array {
  return secret.expose(bytes => bytes.slice())
}
