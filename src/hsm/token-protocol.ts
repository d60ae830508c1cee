/*
 * Between the HSM VM's process and the one that holds the PKCS#11 module: messages over the channel of a forked process,
 * one request at a time, each answered once. Bytes travel as bytes.
 */

export interface TokenAddress {
  /** Absolute path of the PKCS#11 module. */
  readonly modulePath: string
  readonly label: string
}

export interface TokenPublicKeys {
  /** P-256, `04 || x || y`. */
  readonly wrapping: Uint8Array | null
  /** Ed25519, 32 bytes; `null` where the token cannot. */
  readonly witness: Uint8Array | null
}

/** The key by which its holder seals: Ed25519 where the token can, else P-256. */
export interface TokenSealKey {
  readonly type: 'ed25519' | 'ecdsa-p256'
  /** 32 bytes, or `04 || x || y`. */
  readonly bytes: Uint8Array
}

/** `make`: from 0, where there is none. */
export type CounterChange = 'read' | 'increment' | 'make'

export interface TokenDescription {
  readonly label: string
  readonly manufacturer: string
  readonly model: string
  readonly serial: string
  /** Can do ECDH, without which no envelope opens. */
  readonly agrees: boolean
  /** Can do Ed25519, without which the ledger is not witnessed. */
  readonly signs: boolean
  readonly mechanisms: number
  /** true: a private key is not sensitive or may be extracted, so it was not made by this product. */
  readonly keysLeave: boolean
}

export type TokenRequest =
  | (TokenAddress & {
      readonly operation: 'initialise'
      readonly officerPin: Uint8Array
      readonly pin: Uint8Array
    })
  | (TokenAddress & { readonly operation: 'open'; readonly pin: Uint8Array })
  | { readonly operation: 'generate' | 'publicKeys' | 'describe' }
  | { readonly operation: 'sealKey'; readonly make: boolean }
  | { readonly operation: 'seal'; readonly message: Uint8Array }
  | { readonly operation: 'counter'; readonly change: CounterChange }
  | { readonly operation: 'agree'; readonly peerPoint: Uint8Array }
  | { readonly operation: 'sign'; readonly message: Uint8Array }

/** `value` is `TokenPublicKeys`, `TokenSealKey`, `TokenDescription`, a number, bytes, or nothing, by the operation. */
export type TokenAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly retry: boolean }
