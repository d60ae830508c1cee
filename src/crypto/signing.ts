import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
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
  return privateKey.expose(bytes => {
    requireEd25519(bytes)
    const key = createPublicKey(createPrivateKey({ key: view(bytes), format: 'der', type: 'pkcs8' }))
    return new Uint8Array(key.export({ format: 'der', type: 'spki' }).subarray(-publicKeyLength))
  })
}

/** The 64 bytes of an Ed25519 signature. `privateKey` is PKCS#8 DER. Throws `KEY_INVALID`. */
export function signEd25519(privateKey: Secret, message: Uint8Array): Uint8Array {
  return privateKey.expose(bytes => {
    requireEd25519(bytes)
    // Not by a `KeyObject`, whose copy of the key would live until the next garbage collection.
    return new Uint8Array(sign(null, message, { key: view(bytes), format: 'der', type: 'pkcs8' }))
  })
}

function requireEd25519(pkcs8: Uint8Array): void {
  if (
    pkcs8.byteLength !== pkcs8Prefix.byteLength + seedLength ||
    !view(pkcs8.subarray(0, pkcs8Prefix.byteLength)).equals(pkcs8Prefix)
  )
    throw new CryptoError('KEY_INVALID', 'not an Ed25519 private key in PKCS#8')
}
