import type { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import type { WrappingKey } from './token-protocol.ts'

/* The wrapping key of a token, as far as an envelope needs it. */

export interface AgreeingKey {
  /** `04 || x || y` */
  readonly point: Uint8Array
  /** The x coordinate of the shared point, 32 bytes; made in the token. */
  agree(peerPoint: Uint8Array): Promise<Secret>
}

export interface DecryptingKey {
  readonly modulus: Uint8Array
  /** The 16 bytes that were encrypted by RSA-OAEP for age; decrypted in the token. Throws `HSM_ENVELOPE_INVALID`. */
  decrypt(ciphertext: Uint8Array): Promise<Secret>
}

export type TokenKey = ({ readonly type: 'p256' } & AgreeingKey) | ({ readonly type: 'rsa' } & DecryptingKey)

/** What opens envelopes in a token; `TokenProcess` is one. */
export interface UnwrappingToken {
  agree(peerPoint: Uint8Array, signal: AbortSignal): Promise<Secret>
  decrypt(ciphertext: Uint8Array, signal: AbortSignal): Promise<Secret>
}

/** Throws `HSM_KEY_MISSING` where the token has none. */
export function requireWrappingKey(wrapping: WrappingKey | null): WrappingKey {
  if (wrapping === null) throw new HsmError('HSM_KEY_MISSING', 'the token has no wrapping key')
  return wrapping
}

export function tokenKey(
  wrapping: WrappingKey | null,
  token: UnwrappingToken,
  signal: AbortSignal,
): TokenKey {
  const key = requireWrappingKey(wrapping)
  return key.type === 'p256'
    ? { ...key, agree: peerPoint => token.agree(peerPoint, signal) }
    : { ...key, decrypt: ciphertext => token.decrypt(ciphertext, signal) }
}
