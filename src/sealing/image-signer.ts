import { sign } from 'node:crypto'
import { utf8 } from '../base/bytes.ts'
import { readBounded } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import { encodeDetachedSignature, parseCertificate, type SignerCertificate } from '../crypto/pkcs7.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { readPrivateKey } from './key-file.ts'

/* Who signs images: the holder of a certificate that the machines have in /etc/verity.d, or their kernel in a keyring. */

const certificateBytesMax = 64 * 1024

/** A key file, or a token. */
export interface ImageSigner {
  readonly certificate: SignerCertificate
  /** Of SHA-256 of `content`: PKCS #1 v1.5 of an RSA key, the DER of an ECDSA signature of a P-256 key. */
  sign(content: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

/** What is signed of an image: the hex digits of its root hash. */
export function signedContent(rootHash: Digest): Uint8Array {
  return utf8(rootHash)
}

export async function signRootHash(
  signer: ImageSigner,
  rootHash: Digest,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return encodeDetachedSignature(signer.certificate, await signer.sign(signedContent(rootHash), signal))
}

/** Throws `CERTIFICATE_INVALID`, `SEAL_IO`. */
export async function readCertificate(file: string): Promise<SignerCertificate> {
  const bytes = await reportingIo(() => readBounded(file, certificateBytesMax))
  if (bytes === null) throw new SealError('SEAL_IO', `there is no file ${file}`)
  return bytes.parse(parseCertificate)
}

/**
 * The key of `certificate`, from a file as for sealing keys; RSA is a kind too. `passphrase` is asked only of a file that has
 * one. Throws `SEAL_IMAGE_KEY_INVALID` for another key, and what `readPrivateKey` throws.
 */
export async function readImageKey(
  file: string,
  certificate: SignerCertificate,
  passphrase: (file: string) => Promise<Secret>,
): Promise<ImageSigner> {
  const key = await readPrivateKey(file, passphrase)
  if (!certificate.belongsTo(key))
    throw new SealError('SEAL_IMAGE_KEY_INVALID', `${file} is not the key of the certificate`)
  return {
    certificate,
    sign: async (content, signal) => {
      signal.throwIfAborted()
      return new Uint8Array(sign('sha256', content, key))
    },
  }
}
