import { constants, createCipheriv, createECDH, createHmac, publicEncrypt } from 'node:crypto'
import { utf8, view } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import type { Secret } from '../../base/secret.ts'
import { TpmError } from '../errors.ts'
import { digestLength, digestOf } from './hash.ts'
import { joined, nothing, sized, u32 } from './marshal.ts'
import { coordinateLength, type PublicArea, whyNotEndorsementKey } from './public-area.ts'

/*
 * TPM2_MakeCredential in software (part 1, section 24): a challenge that only the TPM with this endorsement key can answer,
 * and only while it holds an object of this name. So an attestation key is tied to an endorsement key.
 */

export interface Credential {
  /** Content of TPM2B_ID_OBJECT. */
  readonly blob: Uint8Array
  /** Content of TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSeed: Uint8Array
}

/** `secret`, at most 32 bytes, is what the TPM must tell. Throws `TPM_KEY_INVALID`. */
export function makeCredential(
  endorsementKey: PublicArea,
  objectName: Uint8Array,
  secret: Secret,
  entropy: Entropy,
): Credential {
  const unfit = whyNotEndorsementKey(endorsementKey)
  if (unfit !== null) throw new TpmError('TPM_KEY_INVALID', `the endorsement key: ${unfit}`)
  if (secret.byteLength === 0 || secret.byteLength > digestLength)
    throw new TpmError(
      'TPM_KEY_INVALID',
      `a challenge of ${secret.byteLength} bytes; expected 1 to ${digestLength}`,
    )
  const { seed, encryptedSeed } =
    endorsementKey.material.kind === 'p256'
      ? agreedSeed(endorsementKey.material, entropy)
      : encryptedToRsa(endorsementKey, entropy)
  const { aesBits } = endorsementKey
  const key = kdfa(seed, 'STORAGE', objectName, aesBits)
  const cipher = createCipheriv(aesBits === 128 ? 'aes-128-cfb' : 'aes-256-cfb', key, new Uint8Array(16))
  const identity = secret.expose(bytes => {
    const plain = sized(bytes)
    const sealed = joined(cipher.update(plain), cipher.final())
    plain.fill(0)
    return sealed
  })
  const macKey = kdfa(seed, 'INTEGRITY', nothing, digestLength * 8)
  const mac = createHmac('sha256', macKey).update(identity).update(objectName).digest()
  for (const used of [seed, key, macKey]) used.fill(0)
  return { blob: joined(sized(mac), identity), encryptedSeed }
}

/** One-pass ECDH (part 1, C.6.1). */
function agreedSeed({ x, y }: { readonly x: Uint8Array; readonly y: Uint8Array }, entropy: Entropy) {
  const ephemeral = createECDH('prime256v1')
  ephemeral.setPrivateKey(entropy.bytes(coordinateLength))
  const shared = ephemeral.computeSecret(joined(new Uint8Array([4]), x, y))
  const point = ephemeral.getPublicKey()
  const ownX = point.subarray(1, 1 + coordinateLength)
  const seed = digestOf(u32(1), shared, label('IDENTITY'), ownX, x)
  shared.fill(0)
  return { seed, encryptedSeed: joined(sized(ownX), sized(point.subarray(1 + coordinateLength))) }
}

/** OAEP (part 1, B.10.4). Its own randomness is OpenSSL's, which cannot be given any. */
function encryptedToRsa({ key }: PublicArea, entropy: Entropy) {
  const seed = entropy.bytes(digestLength)
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const options = { key, padding, oaepHash: 'sha256', oaepLabel: view(label('IDENTITY')) }
  return { seed, encryptedSeed: new Uint8Array(publicEncrypt(options, seed)) }
}

/** KDFa (part 1, 11.4.10.2) with SHA-256, of at most one block. */
function kdfa(key: Uint8Array, purpose: string, context: Uint8Array, bits: number): Uint8Array {
  const block = createHmac('sha256', key)
    .update(joined(u32(1), label(purpose), context, u32(bits)))
    .digest()
  const derived = new Uint8Array(block.subarray(0, bits / 8))
  block.fill(0)
  return derived
}

function label(text: string): Uint8Array {
  return utf8(`${text}\0`)
}
