import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { CryptoError } from './errors.ts'

/* The private half of `signature.ts`: Ed25519 (RFC 8032) with keys in PKCS#8 (RFC 8410), held in a `Secret`. */

const seedLength = 32
const publicKeyLength = 32
/** RFC 8410 PrivateKeyInfo up to the 32 bytes of the seed. */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')

export interface SigningKey extends Disposable {
  /** PKCS#8 DER. */
  readonly privateKey: Secret
  /** 32 bytes, RFC 8032. */
  readonly publicKey: Uint8Array
}

export function generateEd25519(entropy: Entropy): SigningKey {
  const seed = entropy.bytes(seedLength)
  const pkcs8 = new Uint8Array(pkcs8Prefix.byteLength + seedLength)
  pkcs8.set(pkcs8Prefix)
  pkcs8.set(seed, pkcs8Prefix.byteLength)
  seed.fill(0)
  const privateKey = Secret.take(pkcs8)
  return {
    privateKey,
    publicKey: ed25519PublicKeyOf(privateKey),
    [Symbol.dispose]: () => privateKey.dispose(),
  }
}

/** The raw 32 bytes that belong to a private key. Throws `KEY_INVALID`. */
export function ed25519PublicKeyOf(privateKey: Secret): Uint8Array {
  const spki = createPublicKey(importPkcs8(privateKey)).export({ format: 'der', type: 'spki' })
  return new Uint8Array(spki.subarray(-publicKeyLength))
}

/** The 64 bytes of an Ed25519 signature. `privateKey` is PKCS#8 DER. Throws `KEY_INVALID`. */
export function signEd25519(privateKey: Secret, message: Uint8Array): Uint8Array {
  return new Uint8Array(sign(null, message, importPkcs8(privateKey)))
}

function importPkcs8(privateKey: Secret): KeyObject {
  const key = privateKey.expose(bytes => {
    try {
      return createPrivateKey({ key: view(bytes), format: 'der', type: 'pkcs8' })
    } catch {
      // Without its cause: what a decoder says about a private key is not for logs.
      throw new CryptoError('KEY_INVALID', 'not a private key in PKCS#8')
    }
  })
  if (key.asymmetricKeyType !== 'ed25519')
    throw new CryptoError('KEY_INVALID', `a private key of kind ${key.asymmetricKeyType}; expected Ed25519`)
  return key
}
