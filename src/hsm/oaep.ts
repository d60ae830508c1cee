import { constants, createHash, createPublicKey, publicEncrypt } from 'node:crypto'
import { utf8, view } from '../base/bytes.ts'
import { sha256Length } from '../crypto/digest.ts'

/* RSA-OAEP as age's `ssh-rsa` stanza has it: RFC 8017, section 7.1, with SHA-256 and MGF1-SHA-256. */

export const oaepLabel = utf8('age-encryption.org/v1/ssh-rsa')
/** Of age: 16 bytes. */
export const fileKeyLength = 16

/** Of 2048 to 4096 bits, without leading zeros. */
export function isModulus(untrustedBytes: Uint8Array): boolean {
  const { byteLength } = untrustedBytes
  const [first = 0, last = 0] = [untrustedBytes[0], untrustedBytes[byteLength - 1]]
  return byteLength >= 256 && byteLength <= 512 && first >= 0x80 && (last & 1) === 1
}

/** As long as `modulus`. */
export function encryptOaep(modulus: Uint8Array, fileKey: Uint8Array): Uint8Array {
  const n = view(modulus).toString('base64url')
  const key = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  return new Uint8Array(
    publicEncrypt({ key, padding, oaepHash: 'sha256', oaepLabel: view(oaepLabel) }, fileKey),
  )
}

/**
 * What was encrypted, out of a block that was decrypted without padding; `null` when it has another form. `length` is that of the
 * modulus: some modules leave leading zeros out. Step 3 of section 7.1.2. Nobody can be asked about other ciphertexts one after
 * another: envelopes are sealed by their digest.
 */
export function removeOaepPadding(block: Uint8Array, length: number): Uint8Array | null {
  if (block.byteLength > length || length < 2 * sha256Length + 2) return null
  const padded = new Uint8Array(length)
  padded.set(block, length - block.byteLength)
  const seed = padded.subarray(1, 1 + sha256Length)
  const data = padded.subarray(1 + sha256Length)
  try {
    mask(seed, data)
    mask(data, seed)
    const labelHash = createHash('sha256').update(oaepLabel).digest()
    let difference = padded[0] ?? 1
    for (const [at, byte] of labelHash.entries()) difference |= byte ^ (data[at] ?? 0)
    const start = data.findIndex((byte, at) => at >= sha256Length && byte !== 0)
    if (difference !== 0 || data[start] !== 1) return null
    return data.slice(start + 1)
  } finally {
    padded.fill(0)
  }
}

/** Section B.2.1: exclusive or with MGF1 of `seed`. */
function mask(bytes: Uint8Array, seed: Uint8Array): void {
  const counter = Buffer.alloc(4)
  for (let at = 0; at < bytes.byteLength; at += sha256Length) {
    counter.writeUInt32BE(at / sha256Length)
    const block = createHash('sha256').update(seed).update(counter).digest()
    for (const [offset, byte] of block.entries())
      if (at + offset < bytes.byteLength) bytes[at + offset] = (bytes[at + offset] ?? 0) ^ byte
    block.fill(0)
  }
}
