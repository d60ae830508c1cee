import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'

/*
 * What a passphrase may be made of. It passes through tools that drop or obey single bytes: a NUL ends it, the pty in
 * front of `scrypt` acts on control characters, qubesd and restore tools strip outer white space, and an empty one
 * would encrypt for everybody. Printable ASCII survives all of them.
 */

const entropyBytes = 32
const passphraseBytesMin = 20
/** `scrypt -P` silently cuts at 2047 bytes, of which Qubes' own prefix takes a part. */
export const passphraseBytesMax = 1024

const space = 0x20
const tilde = 0x7e
const base64url = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')

/** 256 random bits as 43 characters of base64url. */
export function newPassphrase(entropy: Entropy): Secret {
  const random = entropy.bytes(entropyBytes)
  const characters = new Uint8Array(Math.ceil((entropyBytes * 8) / 6))
  for (let at = 0; at < characters.byteLength; at++) {
    const bit = at * 6
    const byte = Math.floor(bit / 8)
    const pair = ((random[byte] ?? 0) << 8) | (random[byte + 1] ?? 0)
    characters[at] = base64url[(pair >> (10 - (bit % 8))) & 0x3f] ?? 0
  }
  random.fill(0)
  return Secret.take(characters)
}

/** Throws `HSM_PASSPHRASE_UNSAFE`; the message says what is wrong, not where. */
export function requireSafe(bytes: Uint8Array): void {
  const { byteLength } = bytes
  if (byteLength < passphraseBytesMin || byteLength > passphraseBytesMax)
    throw new HsmError(
      'HSM_PASSPHRASE_UNSAFE',
      `the passphrase has ${byteLength} bytes; expected ${passphraseBytesMin} to ${passphraseBytesMax}`,
    )
  if (bytes.some(byte => byte < space || byte > tilde))
    throw new HsmError('HSM_PASSPHRASE_UNSAFE', 'the passphrase has bytes outside printable ASCII')
  if (bytes[0] === space || bytes[byteLength - 1] === space)
    throw new HsmError('HSM_PASSPHRASE_UNSAFE', 'the passphrase begins or ends with a space')
}
