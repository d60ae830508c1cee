import { type KeyObject, verify, X509Certificate } from 'node:crypto'
import { view } from '../base/bytes.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { DerReader, der, derTag } from './der.ts'
import { sha256Hex } from './digest.ts'
import { CryptoError } from './errors.ts'

/*
 * PKCS#7 (RFC 2315) as Linux takes it for a dm-verity root hash and systemd for its /etc/verity.d: SignedData around nothing,
 * one signer named by issuer and serial number, SHA-256, no certificates and no attributes. It is what
 * `openssl smime -sign -nocerts -noattr -binary -outform der` writes. RSA of 2048 bits or more (PKCS #1 v1.5), or P-256.
 */

const oid = {
  signedData: der(derTag.oid, Buffer.from('2a864886f70d010702', 'hex')),
  data: der(derTag.oid, Buffer.from('2a864886f70d010701', 'hex')),
  sha256: der(derTag.oid, Buffer.from('608648016503040201', 'hex')),
  rsa: der(derTag.oid, Buffer.from('2a864886f70d010101', 'hex')),
  ecdsaWithSha256: der(derTag.oid, Buffer.from('2a8648ce3d040302', 'hex')),
} as const
const nothing = der(derTag.null)
const versionOne = der(derTag.integer, Uint8Array.of(1))
const sha256Algorithm = der(derTag.sequence, oid.sha256, nothing)
const rsaBitsMin = 2048

/** Whose signatures count. Its dates, its issuer's signature and its purposes are not looked at, nor does the kernel. */
export interface SignerCertificate {
  /** A Name in DER. */
  readonly issuer: Uint8Array
  /** An INTEGER in DER. */
  readonly serial: Uint8Array
  readonly key: KeyObject
  /** SHA-256 of the certificate in DER. */
  readonly fingerprint: Digest
  /** Whether `key` is the private half. */
  belongsTo(key: KeyObject): boolean
}

/** One certificate in PEM or DER. Throws `CERTIFICATE_INVALID`. */
export function parseCertificate(untrustedBytes: Uint8Array): SignerCertificate {
  const certificate = importCertificate(untrustedBytes)
  const { publicKey: key, raw } = certificate
  requireKind(key)
  const signed = new DerReader(raw).inside(derTag.sequence).inside(derTag.sequence)
  if (signed.peek() === derTag.context0) signed.any()
  const serial = signed.next(derTag.integer).whole
  signed.next(derTag.sequence)
  const issuer = signed.next(derTag.sequence).whole
  const fingerprint = parseDigest(sha256Hex(raw))
  return { issuer, serial, key, fingerprint, belongsTo: other => certificate.checkPrivateKey(other) }
}

function importCertificate(untrustedBytes: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(view(untrustedBytes))
  } catch (cause) {
    throw new CryptoError('CERTIFICATE_INVALID', 'not an X.509 certificate in PEM or DER', { cause })
  }
}

function requireKind({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): void {
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= rsaBitsMin) return
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return
  throw new CryptoError(
    'CERTIFICATE_INVALID',
    `a key of kind ${asymmetricKeyType}; expected RSA of ${rsaBitsMin} bits or more, or P-256`,
  )
}

/** `signature` is by the key of `certificate`, over the content itself: PKCS #1 v1.5, or the DER of an ECDSA signature. */
export function encodeDetachedSignature(
  { issuer, serial, key }: SignerCertificate,
  signature: Uint8Array,
): Uint8Array {
  const signer = der(
    derTag.sequence,
    versionOne,
    der(derTag.sequence, issuer, serial),
    sha256Algorithm,
    key.asymmetricKeyType === 'rsa'
      ? der(derTag.sequence, oid.rsa, nothing)
      : der(derTag.sequence, oid.ecdsaWithSha256),
    der(derTag.octetString, signature),
  )
  const signedData = der(
    derTag.sequence,
    versionOne,
    der(derTag.set, sha256Algorithm),
    der(derTag.sequence, oid.data),
    der(derTag.set, signer),
  )
  return der(derTag.sequence, oid.signedData, der(derTag.context0, signedData))
}

/**
 * Throws `DER_MALFORMED` or `PKCS7_MALFORMED` for any other form, `PKCS7_SIGNER_OTHER` when it names another certificate, and
 * `PKCS7_SIGNATURE_WRONG` when it is not the signature of `content`.
 */
export function verifyDetachedSignature(
  untrustedBytes: Uint8Array,
  content: Uint8Array,
  certificate: SignerCertificate,
): void {
  const { issuer, serial, signature } = parseDetachedSignature(untrustedBytes, certificate.key)
  if (!view(issuer).equals(certificate.issuer) || !view(serial).equals(certificate.serial))
    throw new CryptoError(
      'PKCS7_SIGNER_OTHER',
      `the signature names another certificate than ${certificate.fingerprint.slice(0, 16)}…`,
    )
  if (!isSignature(certificate.key, content, signature))
    throw new CryptoError('PKCS7_SIGNATURE_WRONG', 'the signature is not that of this content')
}

interface DetachedSignature {
  readonly issuer: Uint8Array
  readonly serial: Uint8Array
  readonly signature: Uint8Array
}

function parseDetachedSignature(untrustedBytes: Uint8Array, key: KeyObject): DetachedSignature {
  const file = new DerReader(untrustedBytes)
  const outer = file.inside(derTag.sequence)
  file.end()
  requireOneOf(outer.any().whole, [oid.signedData], 'not signed data')
  const explicit = outer.inside(derTag.context0)
  outer.end()
  const data = explicit.inside(derTag.sequence)
  explicit.end()
  requireOneOf(data.any().whole, [versionOne], 'not of version 1')
  const digests = data.inside(derTag.set)
  requireSha256(digests.any().whole)
  digests.end()
  requireOneOf(data.any().whole, [der(derTag.sequence, oid.data)], 'it holds a content of its own')
  const signers = data.inside(derTag.set)
  data.end()
  const signer = signers.inside(derTag.sequence)
  signers.end()
  requireOneOf(signer.any().whole, [versionOne], 'a signer not of version 1')
  const name = signer.inside(derTag.sequence)
  const issuer = name.next(derTag.sequence).whole
  const serial = name.next(derTag.integer).whole
  name.end()
  requireSha256(signer.any().whole)
  const algorithm = key.asymmetricKeyType === 'rsa' ? oid.rsa : oid.ecdsaWithSha256
  requireOneOf(
    signer.any().whole,
    withAndWithoutNull(algorithm),
    'another kind of signature than its certificate has',
  )
  const signature = signer.next(derTag.octetString).content
  signer.end()
  return { issuer, serial, signature }
}

/** Both are in use: OpenSSL's `smime` writes the NULL, its `cms` does not. */
function withAndWithoutNull(algorithm: Uint8Array): readonly Uint8Array[] {
  return [der(derTag.sequence, algorithm, nothing), der(derTag.sequence, algorithm)]
}

function requireSha256(untrustedBytes: Uint8Array): void {
  requireOneOf(untrustedBytes, withAndWithoutNull(oid.sha256), 'a digest that is not SHA-256')
}

function requireOneOf(untrustedBytes: Uint8Array, accepted: readonly Uint8Array[], otherwise: string): void {
  if (!accepted.some(one => view(one).equals(untrustedBytes)))
    throw new CryptoError('PKCS7_MALFORMED', `the signature: ${otherwise}`)
}

function isSignature(key: KeyObject, content: Uint8Array, untrustedSignature: Uint8Array): boolean {
  try {
    return verify('sha256', content, key, untrustedSignature)
  } catch {
    return false // what OpenSSL cannot even decode has not been verified
  }
}
