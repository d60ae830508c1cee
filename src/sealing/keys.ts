import type { KeyObject } from 'node:crypto'
import { toBase64 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import {
  ed25519PublicKey,
  ed25519PublicKeyLength,
  p256PointLength,
  p256PublicKey,
} from '../crypto/signature.ts'
import { SealError } from './errors.ts'

export const keyTypes = ['ed25519', 'ecdsa-p256'] as const
export type KeyType = (typeof keyTypes)[number]

/**
 * A public sealing key. `bytes` has one encoding per key (32 bytes of RFC 8032, or the point `04 || x || y`), so that
 * equal material means equal ids. `id` is SHA-256 of its SubjectPublicKeyInfo, which
 * `openssl pkey -pubin -outform der | sha256sum` prints as well.
 */
export interface PublicKey {
  readonly id: Digest
  readonly type: KeyType
  readonly bytes: Uint8Array
  readonly handle: KeyObject
}

/** Throws `SEAL_KEY_INVALID`. */
export function publicKey(type: KeyType, bytes: Uint8Array): PublicKey {
  const handle = importKey(type, bytes)
  const id = sha256Hex(handle.export({ format: 'der', type: 'spki' }))
  return { id, type, bytes, handle }
}

/** Of an Ed25519 or P-256 key. Throws `SEAL_KEY_INVALID`. */
export function publicKeyOf(handle: KeyObject): PublicKey {
  const spki = handle.export({ format: 'der', type: 'spki' })
  if (handle.asymmetricKeyType === 'ed25519')
    return publicKey('ed25519', new Uint8Array(spki.subarray(-ed25519PublicKeyLength)))
  if (handle.asymmetricKeyType === 'ec' && handle.asymmetricKeyDetails?.namedCurve === 'prime256v1')
    return publicKey('ecdsa-p256', new Uint8Array(spki.subarray(-p256PointLength)))
  throw new SealError(
    'SEAL_KEY_INVALID',
    `a key of kind ${handle.asymmetricKeyType}; expected Ed25519 or P-256`,
  )
}

function importKey(type: KeyType, bytes: Uint8Array): KeyObject {
  try {
    return type === 'ed25519' ? ed25519PublicKey(bytes) : p256PublicKey(bytes)
  } catch (cause) {
    throw new SealError(
      'SEAL_KEY_INVALID',
      `not a public key of type ${type}: ${toBase64(bytes).slice(0, 100)}`,
      {
        cause,
      },
    )
  }
}

/** The first digits of an id, for people; never compared. */
export function shortId(id: string): string {
  return id.slice(0, 16)
}
