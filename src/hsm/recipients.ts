import { utf8, view } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { CryptoError } from '../crypto/errors.ts'
import { p256PointLength, p256PublicKey } from '../crypto/signature.ts'
import { decodeBech32, encodeBech32 } from './bech32.ts'
import { HsmError } from './errors.ts'
import { parseSshRsa, sshRsaText } from './ssh-rsa.ts'
import type { WrappingKey } from './token-protocol.ts'

/*
 * Who can open a passphrase envelope, in age's notation: tokens by their tagged P-256 recipient (https://c2sp.org/age,
 * "p256tag") or, where they know RSA only, as an SSH key; people by their X25519 recovery key.
 */

const tokenPrefix = 'age1tag'
const recoveryPrefix = 'age'
const compressedPointLength = 33
const x25519KeyLength = 32

export interface Recipient {
  readonly kind: 'token' | 'recovery'
  /** `age1tag1…`, `ssh-rsa AAAA…` or `age1…` */
  readonly text: string
}

/** The recipient of a token with that key. */
export function tokenRecipient(key: WrappingKey): Recipient {
  if (key.type === 'rsa') return { kind: 'token', text: sshRsaText(key.modulus) }
  return { kind: 'token', text: asText(encodeBech32(tokenPrefix, compressPoint(key.point))) }
}

export function recoveryRecipient(publicKey: Uint8Array): Recipient {
  return { kind: 'recovery', text: asText(encodeBech32(recoveryPrefix, publicKey)) }
}

/** Throws `HSM_RECIPIENT_INVALID`. Whether a token's point is on the curve shows when it is encrypted to. */
export function parseRecipient(untrustedText: string): Recipient {
  const untrustedBytes = Buffer.from(untrustedText, 'latin1')
  if (decodeBech32(tokenPrefix, untrustedBytes)?.byteLength === compressedPointLength)
    return { kind: 'token', text: untrustedText }
  if (decodeBech32(recoveryPrefix, untrustedBytes)?.byteLength === x25519KeyLength)
    return { kind: 'recovery', text: untrustedText }
  const modulus = parseSshRsa(untrustedText)
  if (modulus !== null) return { kind: 'token', text: sshRsaText(modulus) }
  throw new HsmError('HSM_RECIPIENT_INVALID', `no recipient: '${printable(untrustedText).slice(0, 100)}'`)
}

/** 64 bits of the SHA-256 of a recipient's text, for people to compare: `3f9a-01c2-77d0-b1e4`. */
export function fingerprintOf({ text }: Recipient): string {
  return sha256Hex(utf8(text))
    .slice(0, 16)
    .replace(/(.{4})(?!$)/g, '$1-')
}

/** SEC 1, section 2.3.3. Throws `HSM_RECIPIENT_INVALID` for what is no uncompressed point of P-256. */
export function compressPoint(point: Uint8Array): Uint8Array {
  if (!isPoint(point))
    throw new HsmError('HSM_RECIPIENT_INVALID', 'not an uncompressed point of the curve P-256')
  // A copy of its own: `slice` of a Buffer would be the same memory.
  const compressed = new Uint8Array(point.subarray(0, compressedPointLength))
  compressed[0] = 2 + ((point[p256PointLength - 1] ?? 0) & 1)
  return compressed
}

/** Whether it is on the curve: one off it, given to a careless token, could draw the private key out bit by bit. */
export function isPoint(untrustedPoint: Uint8Array): boolean {
  try {
    return p256PublicKey(untrustedPoint).asymmetricKeyType === 'ec'
  } catch (error) {
    if (error instanceof CryptoError) return false
    throw error
  }
}

function asText(ascii: Uint8Array): string {
  return view(ascii).toString('latin1')
}
