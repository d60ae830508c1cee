import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { view } from '../base/bytes.ts'
import { CryptoError } from './errors.ts'

/*
 * The public half: verification only. Ed25519 is RFC 8032; ECDSA is P-256 with SHA-256 (FIPS 186-5), its signature
 * the plain `r || s` that PKCS#11 gives, not the DER of X.509. Faulty keys throw, faulty signatures are `false`.
 */

export const ed25519PublicKeyLength = 32
export const ed25519SignatureLength = 64
const ecdsaP256SignatureLength = 64

/** RFC 8410 SubjectPublicKeyInfo up to the 32 bytes of the key. */
const ed25519SpkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')
/** RFC 5480 SubjectPublicKeyInfo of an uncompressed P-256 point, up to its 65 bytes `04 || x || y`. */
const p256SpkiPrefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex')
export const p256PointLength = 65

/** The key of a raw RFC 8032 public key. Throws `KEY_INVALID`. */
export function ed25519PublicKey(raw: Uint8Array): KeyObject {
  if (raw.byteLength !== ed25519PublicKeyLength)
    throw new CryptoError(
      'KEY_INVALID',
      `an Ed25519 public key of ${raw.byteLength} bytes; expected ${ed25519PublicKeyLength}`,
    )
  return publicKeyFromSpki(Buffer.concat([ed25519SpkiPrefix, raw]))
}

/** The key of a P-256 point `04 || x || y`, which must be on the curve. Throws `KEY_INVALID`. */
export function p256PublicKey(point: Uint8Array): KeyObject {
  if (point.byteLength !== p256PointLength || point[0] !== 4)
    throw new CryptoError('KEY_INVALID', `not an uncompressed P-256 point of ${p256PointLength} bytes`)
  return publicKeyFromSpki(Buffer.concat([p256SpkiPrefix, point]))
}

/** An Ed25519 or P-256 key from its SubjectPublicKeyInfo; no other kind is accepted. Throws `KEY_INVALID`. */
export function publicKeyFromSpki(untrustedDer: Uint8Array): KeyObject {
  const key = importSpki(untrustedDer)
  if (key.asymmetricKeyType === 'ed25519') return key
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  throw new CryptoError('KEY_INVALID', `a key of kind ${key.asymmetricKeyType}; expected Ed25519 or P-256`)
}

function importSpki(untrustedDer: Uint8Array): KeyObject {
  try {
    return createPublicKey({ key: view(untrustedDer), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new CryptoError('KEY_INVALID', 'not a SubjectPublicKeyInfo', { cause })
  }
}

/** Whether `signature` is the one of `message` by the holder of the raw Ed25519 key. */
export function verifyEd25519(
  publicKeyRaw: Uint8Array,
  message: Uint8Array,
  untrustedSignature: Uint8Array,
): boolean {
  return verifySignature(ed25519PublicKey(publicKeyRaw), message, untrustedSignature)
}

/** Whether `signature` (`r || s`) is the one of SHA-256 of `message` by the holder of the P-256 point. */
export function verifyEcdsaP256(
  point: Uint8Array,
  message: Uint8Array,
  untrustedSignature: Uint8Array,
): boolean {
  return verifySignature(p256PublicKey(point), message, untrustedSignature)
}

/** The algorithm is the key's, never the signature's. */
export function verifySignature(
  key: KeyObject,
  message: Uint8Array,
  untrustedSignature: Uint8Array,
): boolean {
  try {
    if (key.asymmetricKeyType === 'ed25519')
      return (
        untrustedSignature.byteLength === ed25519SignatureLength &&
        verify(null, message, key, untrustedSignature)
      )
    return (
      untrustedSignature.byteLength === ecdsaP256SignatureLength &&
      verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, untrustedSignature)
    )
  } catch {
    return false // what OpenSSL cannot even decode has not been verified
  }
}
