/*
 * Between the HSM VM's process and the one that holds the PKCS#11 module: messages over the channel of a forked process. Several
 * requests may be on their way; each is answered once, by its number. Bytes travel as bytes.
 */

/** How many requests a token has at once, and so how many sessions. */
export const sessionsMax = 4

export interface TokenAddress {
  /** Absolute path of the PKCS#11 module. */
  readonly modulePath: string
  /** What the module is given at C_Initialize, as NSS wants it; `null` for all others. */
  readonly moduleParameters: string | null
  readonly label: string
}

/** The public half of the key to which envelopes are encrypted. */
export type WrappingKey =
  | {
      readonly type: 'p256'
      /** `04 || x || y`. */
      readonly point: Uint8Array
    }
  | {
      readonly type: 'rsa'
      /** 2048 to 4096 bits, the highest byte first, without leading zeros. The exponent is 65537. */
      readonly modulus: Uint8Array
    }

export interface TokenPublicKeys {
  readonly wrapping: WrappingKey | null
  /** Ed25519, 32 bytes; `null` where the token cannot. */
  readonly witness: Uint8Array | null
}

/** How a token opens an envelope; see `token-wrapping.ts`. */
export type Unwrapping = 'ecdh' | 'oaep' | 'rsa'

/** The key by which its holder seals: Ed25519 where the token can, else P-256. */
export interface TokenSealKey {
  readonly type: 'ed25519' | 'ecdsa-p256'
  /** 32 bytes, or `04 || x || y`. */
  readonly bytes: Uint8Array
}

/** `make`: from 0, where there is none. */
export type CounterChange = 'read' | 'increment' | 'make'

/** As the token says; SoftHSM never locks, and a TPM tells only when it is asked to log in. */
export type PinState = 'sound' | 'failed-before' | 'last-try' | 'locked'

/** What a token tells without a PIN. */
export interface InspectedToken {
  readonly label: string
  readonly manufacturer: string
  readonly model: string
  readonly serial: string
  readonly pin: PinState
  readonly isWriteProtected: boolean
  /** How many; of these, it has: */
  readonly mechanisms: number
  readonly ecdh: boolean
  readonly oaep: boolean
  /** RSA without padding. */
  readonly rsa: boolean
  readonly ed25519: boolean
  readonly ecdsa: boolean
}

export interface KeptKey {
  readonly label: string
  /** The token says that it is sensitive and not extractable. */
  readonly isProtected: boolean
  /** What came of trying to have it wrapped: `given` although it should not be, or no mechanism to try with. */
  readonly export: 'refused' | 'given' | 'untried'
}

/** What a token does, having been tried. */
export interface TokenDescription {
  /** `null`: it opens no envelope. */
  readonly opens: Unwrapping | null
  /** The private keys that are there. */
  readonly keys: readonly KeptKey[]
}

export type TokenRequest =
  | (TokenAddress & {
      readonly operation: 'initialise'
      readonly officerPin: Uint8Array
      readonly pin: Uint8Array
    })
  | (TokenAddress & {
      readonly operation: 'open'
      readonly pin: Uint8Array
      /** This PIN was sent before, and how that ended is not known. */
      readonly isCautious: boolean
    })
  | (TokenAddress & { readonly operation: 'inspect' })
  | { readonly operation: 'generate' | 'publicKeys' | 'describe' }
  | { readonly operation: 'sealKey'; readonly make: boolean }
  | { readonly operation: 'seal'; readonly message: Uint8Array }
  | { readonly operation: 'counter'; readonly change: CounterChange }
  | { readonly operation: 'agree'; readonly peerPoint: Uint8Array }
  | { readonly operation: 'decrypt'; readonly ciphertext: Uint8Array }
  | { readonly operation: 'sign'; readonly message: Uint8Array }

export interface NumberedRequest {
  readonly id: number
  readonly request: TokenRequest
}

/**
 * `value` is `TokenPublicKeys`, `TokenSealKey`, `InspectedToken`, `TokenDescription`, a number, bytes, or nothing, by the
 * operation.
 */
export type TokenAnswer = { readonly id: number } & (
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly retry: boolean }
)
