import { createPublicKey } from 'node:crypto'
import { fromUtf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { type PublicKey, publicKeyOf } from './keys.ts'

/* Public keys in files, to be sent to whoever makes the root: SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes. */

const publicKeyBytesMax = 4096
export const publicKeyFileEnding = '.pub'

export async function writePublicKey(file: string, { handle }: PublicKey): Promise<void> {
  const pem = Buffer.from(handle.export({ format: 'pem', type: 'spki' }))
  await reportingIo(() => writeDurably(file, pem, 0o644))
}

/** Throws `SEAL_KEY_INVALID`, `SEAL_IO`. */
export async function readPublicKey(file: string): Promise<PublicKey> {
  const bytes = await reportingIo(() => readBounded(file, publicKeyBytesMax))
  if (bytes === null)
    throw new SealError('SEAL_KEY_INVALID', `there is no file ${printable(file)}`, {
      hint: 'name the NAME.pub that the holder has sent',
    })
  return bytes.parse(untrustedBytes => parsePublicKey(untrustedBytes, printable(file)))
}

function parsePublicKey(untrustedBytes: Uint8Array, name: string): PublicKey {
  try {
    const pem = fromUtf8(untrustedBytes)
    // A private key has a public one, and does not belong where it could be sent by mistake.
    if (!pem.startsWith('-----BEGIN PUBLIC KEY-----')) throw new Error('not a public key')
    return publicKeyOf(createPublicKey({ key: pem, format: 'pem' }))
  } catch (cause) {
    throw new SealError('SEAL_KEY_INVALID', `${name} holds no Ed25519 or P-256 public key in PEM`, {
      cause,
      hint: 'name the NAME.pub that strongroom seal key makes, or what openssl pkey -pubout writes; a private key stays with its holder',
    })
  }
}
