import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const cryptoErrors = {
  KEY_INVALID: {
    kind: 'usage',
    meaning: 'A key does not have the length or the encoding of its kind.',
    hint: 'the key was damaged on its way, or is not what it is taken for',
  },
  MAC_WRONG: {
    kind: 'integrity',
    meaning: 'A sealed object was changed, or belongs to another key.',
    hint: 'look for a second copy of the object; if none opens, the storage changed it',
  },
  SEALED_TOO_SHORT: {
    kind: 'integrity',
    meaning: 'A sealed object is shorter than its nonce and its tag.',
    hint: 'the object was truncated; look for a second copy',
  },
  KDF_LIMIT: {
    kind: 'refused',
    meaning: 'The stated cost of a passphrase derivation is malformed, or more than is ever paid.',
    hint: 'the key file or archive is damaged, or was made to exhaust this machine',
  },
  VERITY_MALFORMED: {
    kind: 'integrity',
    meaning: 'An image is not whole blocks, or its hash tree is not one in the accepted form.',
    hint: 'the files do not belong together, or were damaged; take them from another copy',
  },
  VERITY_MISMATCH: {
    kind: 'integrity',
    meaning: 'A block of an image, or of its hash tree, is not the one that the root hash names.',
    hint: 'the image was changed or damaged; take it from another copy, and find out who changed this one',
  },
  DER_MALFORMED: {
    kind: 'integrity',
    meaning: 'A certificate or a signature is not well-formed DER.',
    hint: 'the file was damaged, or is not what it is taken for',
  },
  CERTIFICATE_INVALID: {
    kind: 'usage',
    meaning: 'Not one X.509 certificate with a key of an accepted kind.',
    hint: 'name the certificate of the key that signs: RSA of 2048 bits or more, or P-256',
  },
  PKCS7_MALFORMED: {
    kind: 'integrity',
    meaning: 'A detached signature is not in the one accepted form.',
    hint: 'sign with `strongroom seal image`, or with `openssl smime -sign -nocerts -noattr -binary -outform der`',
  },
  PKCS7_SIGNER_OTHER: {
    kind: 'integrity',
    meaning: 'A signature is by the holder of another certificate.',
    hint: 'name the certificate that it was signed with, if you trust it; find out who signed',
  },
  PKCS7_SIGNATURE_WRONG: {
    kind: 'integrity',
    meaning: 'A signature is not that of this content.',
    hint: 'the content was changed after signing; take it from another copy',
  },
} as const satisfies ErrorCatalogue

export class CryptoError extends errorClass(cryptoErrors) {}
