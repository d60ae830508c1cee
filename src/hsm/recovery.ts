import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { decodeBech32, encodeBech32 } from './bech32.ts'
import { HsmError } from './errors.ts'
import { type Recipient, recoveryRecipient } from './recipients.ts'

/*
 * Recovery keys: native X25519 identities of age, `AGE-SECRET-KEY-1…`, kept on paper or in a safe. Any stock `age` opens
 * an envelope with one, without this product and without the token.
 */

const identityPrefix = 'age-secret-key-'
export const scalarLength = 32
/** RFC 8410 PrivateKeyInfo of X25519 up to the 32 bytes of the scalar. */
const pkcs8Prefix = Buffer.from('302e020100300506032b656e04220420', 'hex')

export interface RecoveryKey extends Disposable {
  /** The line to write down: 74 ASCII characters, without a newline. */
  readonly identity: Secret
  readonly recipient: Recipient
}

export function newRecoveryKey(entropy: Entropy): RecoveryKey {
  const scalar = entropy.bytes(scalarLength)
  try {
    return recoveryKeyOf(scalar)
  } finally {
    scalar.fill(0)
  }
}

/** Of the 32 bytes that an identity is the Bech32 of. */
export function recoveryKeyOf(scalar: Uint8Array): RecoveryKey {
  const identity = Secret.take(upperCase(encodeBech32(identityPrefix, scalar)))
  const recipient = recoveryRecipient(publicKeyOf(scalar))
  return { identity, recipient, [Symbol.dispose]: () => identity.dispose() }
}

/**
 * The 32 bytes behind an identity, which the caller zeroes. White space around the line, and comment lines as `age-keygen`
 * writes them, are skipped. Throws `HSM_RECOVERY_KEY_INVALID`.
 */
export function scalarOf(identity: Secret): Uint8Array {
  return identity.expose(untrustedBytes => {
    const scalar = decodeBech32(identityPrefix, lowerCase(identityLine(untrustedBytes)))
    if (scalar?.byteLength !== scalarLength)
      throw new HsmError('HSM_RECOVERY_KEY_INVALID', 'not one line AGE-SECRET-KEY-1… with its check digits')
    return scalar
  })
}

export type RecoveryDecryptionKey = webcrypto.CryptoKey

/** Throws as `scalarOf`. */
export async function importRecoveryKey(identity: Secret): Promise<RecoveryDecryptionKey> {
  const scalar = scalarOf(identity)
  const pkcs8 = toPkcs8(scalar)
  scalar.fill(0)
  try {
    return await webcrypto.subtle.importKey('pkcs8', pkcs8, { name: 'X25519' }, false, ['deriveBits'])
  } finally {
    pkcs8.fill(0)
  }
}

function identityLine(untrustedBytes: Uint8Array): Uint8Array {
  const lines: Uint8Array[] = []
  for (let start = 0; start < untrustedBytes.byteLength; ) {
    const found = untrustedBytes.indexOf(0x0a, start)
    const end = found < 0 ? untrustedBytes.byteLength : found
    const line = trimmed(untrustedBytes.subarray(start, end))
    if (line.byteLength > 0 && line[0] !== 0x23) lines.push(line)
    start = end + 1
  }
  return lines.length === 1 && lines[0] !== undefined ? lines[0] : new Uint8Array(0)
}

function trimmed(bytes: Uint8Array): Uint8Array {
  const isSpace = (byte: number | undefined) => byte === 0x20 || byte === 0x09 || byte === 0x0d
  let [start, end] = [0, bytes.byteLength]
  while (start < end && isSpace(bytes[start])) start += 1
  while (end > start && isSpace(bytes[end - 1])) end -= 1
  return bytes.subarray(start, end)
}

function publicKeyOf(scalar: Uint8Array): Uint8Array {
  const pkcs8 = toPkcs8(scalar)
  const key = createPrivateKey({ key: Buffer.from(pkcs8.buffer), format: 'der', type: 'pkcs8' })
  pkcs8.fill(0)
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-scalarLength))
}

function toPkcs8(scalar: Uint8Array): Uint8Array<ArrayBuffer> {
  const pkcs8 = new Uint8Array(pkcs8Prefix.byteLength + scalarLength)
  pkcs8.set(pkcs8Prefix)
  pkcs8.set(scalar, pkcs8Prefix.byteLength)
  return pkcs8
}

/** ASCII in place; age writes identities in upper case, and their checksum is over the lower. */
function upperCase(ascii: Uint8Array): Uint8Array {
  ascii.forEach((byte, at) => {
    if (byte >= 0x61 && byte <= 0x7a) ascii[at] = byte - 0x20
  })
  return ascii
}

/** A copy, for mixed case is refused by Bech32 and must stay so. */
function lowerCase(ascii: Uint8Array): Uint8Array {
  const isUpper = (byte: number) => byte >= 0x41 && byte <= 0x5a
  const isLower = (byte: number) => byte >= 0x61 && byte <= 0x7a
  if (ascii.some(isUpper) && ascii.some(isLower)) return new Uint8Array(0)
  return ascii.map(byte => (isUpper(byte) ? byte + 0x20 : byte))
}
