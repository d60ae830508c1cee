import { createDecipheriv, createHmac } from 'node:crypto'
import { utf8 } from '../base/bytes.ts'
import { sha256Length } from '../crypto/digest.ts'

/*
 * The receiving end of HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, for one
 * message. The Diffie-Hellman value comes from a token and is an argument here.
 */

const version = utf8('HPKE-v1')
/** `"KEM" || I2OSP(kem_id, 2)`, section 4.1. */
const kemSuite = Buffer.from('KEM\x00\x10', 'latin1')
/** `"HPKE" || kem_id || kdf_id || aead_id`, section 5.1. */
const suite = Buffer.from('HPKE\x00\x10\x00\x01\x00\x03', 'latin1')
const modeBase = Uint8Array.of(0)
const keyLength = 32
const nonceLength = 12
const tagLength = 16
const empty = new Uint8Array(0)

export interface HpkeMessage {
  /** The sender's ephemeral point, 65 bytes. */
  readonly encapsulated: Uint8Array
  /** The receiver's point, 65 bytes. */
  readonly recipient: Uint8Array
  readonly info: Uint8Array
  readonly ciphertext: Uint8Array
}

/** The plaintext, or `null` when it was not sealed to this receiver or was changed. Section 6.1, `OpenBase`. */
export function openHpke(sharedPoint: Uint8Array, message: HpkeMessage): Uint8Array | null {
  const { encapsulated, recipient, info, ciphertext } = message
  if (ciphertext.byteLength < tagLength) return null
  // Section 4.1, ExtractAndExpand.
  const extracted = labeledExtract(kemSuite, empty, 'eae_prk', sharedPoint)
  const shared = labeledExpand(
    kemSuite,
    extracted,
    'shared_secret',
    Buffer.concat([encapsulated, recipient]),
    sha256Length,
  )
  // Section 5.1, KeySchedule.
  const context = Buffer.concat([
    modeBase,
    labeledExtract(suite, empty, 'psk_id_hash', empty),
    labeledExtract(suite, empty, 'info_hash', info),
  ])
  const secret = labeledExtract(suite, shared, 'secret', empty)
  const key = labeledExpand(suite, secret, 'key', context, keyLength)
  // The first message's nonce is the base nonce itself (sequence number 0).
  const nonce = labeledExpand(suite, secret, 'base_nonce', context, nonceLength)
  try {
    return decrypt(key, nonce, ciphertext)
  } finally {
    for (const one of [extracted, shared, secret, key]) one.fill(0)
  }
}

function decrypt(key: Uint8Array, nonce: Uint8Array, ciphertext: Uint8Array): Uint8Array | null {
  const tagAt = ciphertext.byteLength - tagLength
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: tagLength })
  decipher.setAuthTag(ciphertext.subarray(tagAt))
  const plaintext = decipher.update(ciphertext.subarray(0, tagAt))
  try {
    decipher.final()
    return Uint8Array.from(plaintext)
  } catch {
    return null
  } finally {
    plaintext.fill(0)
  }
}

function labeledExtract(suiteId: Uint8Array, salt: Uint8Array, label: string, material: Uint8Array): Buffer {
  return createHmac('sha256', salt)
    .update(version)
    .update(suiteId)
    .update(label, 'latin1')
    .update(material)
    .digest()
}

/** One block of HKDF-Expand suffices for every length asked for here. */
function labeledExpand(
  suiteId: Uint8Array,
  key: Uint8Array,
  label: string,
  info: Uint8Array,
  length: number,
): Buffer {
  return createHmac('sha256', key)
    .update(Uint8Array.of(length >> 8, length & 0xff))
    .update(version)
    .update(suiteId)
    .update(label, 'latin1')
    .update(info)
    .update(Uint8Array.of(1))
    .digest()
    .subarray(0, length)
}
