import { Buffer } from 'node:buffer'
import { createECDH, randomBytes } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { equalConstantTime, view } from '../base/bytes.ts'
import { Secret } from '../base/secret.ts'
import { p256PointLength } from '../crypto/signature.ts'
import { HsmError, type HsmErrorCode } from './errors.ts'
import { encryptOaep, fileKeyLength, oaepLabel, removeOaepPadding } from './oaep.ts'
import { curvePoint, keyType, p256Templates } from './token-curves.ts'
import type { Unwrapping, WrappingKey } from './token-protocol.ts'
import type { TokenSession } from './token-session.ts'
import type { TokenSessions } from './token-sessions.ts'

/*
 * The key to which passphrase envelopes are encrypted, and nothing else. What a token can do is tried, not believed: lists of
 * mechanisms do not say which hash or label OAEP takes. In this order:
 *
 * - `ecdh`: P-256 and CKM_ECDH1_DERIVE. The shared secret is an object of the session, read once and destroyed.
 * - `oaep`: RSA and CKM_RSA_PKCS_OAEP with SHA-256 and the label of age.
 * - `rsa`: RSA and CKM_RSA_X_509; the padding is taken off here. A TPM, whose labels end in NUL, has no other way.
 */

export const wrappingKeyLabel = 'strongroom-wrapping'

const CKD_NULL = 1
const CKZ_DATA_SPECIFIED = 1
const sharedSecretLength = 32
/** The first is taken that the token can. */
const rsaBits = [3072, 2048]
const rsaExponent = Buffer.from('010001', 'hex')

const ecdhMechanisms = [pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDH1_DERIVE]
const rsaUnwrappings = ['oaep', 'rsa'] as const

/** The public half, or `null` where the token has none. Throws `HSM_TOKEN_FAILED` for one of a form that is not made here. */
export function wrappingKey(session: TokenSession): WrappingKey | null {
  const key = session.find(pkcs11.CKO_PUBLIC_KEY, wrappingKeyLabel)
  if (key === null) return null
  if (keyType(session, key) !== pkcs11.CKK_RSA)
    return { type: 'p256', point: curvePoint(session, key, p256PointLength) }
  if (!view(session.attribute(key, pkcs11.CKA_PUBLIC_EXPONENT)).equals(rsaExponent))
    throw new HsmError('HSM_TOKEN_FAILED', 'the public exponent of the wrapping key is not 65537')
  return { type: 'rsa', modulus: withoutZeros(session.attribute(key, pkcs11.CKA_MODULUS)) }
}

/** Makes the key where it is missing, in the first way that is then seen to work. Throws `HSM_MECHANISM_MISSING`. */
export async function makeWrappingKey(sessions: TokenSessions): Promise<void> {
  const what = 'making the wrapping key'
  const isThere = await sessions.use(
    what,
    session => session.find(pkcs11.CKO_PRIVATE_KEY, wrappingKeyLabel) !== null,
  )
  if (isThere) return
  const ways = await sessions.use(what, waysToMake)
  for (const make of ways) {
    const pair = await sessions.use(what, make).catch(passOver)
    if (pair === null) continue
    if ((await provenUnwrapping(sessions)) !== null) return
    // It cannot be used: another is made in its place.
    await sessions.use(what, session => {
      for (const half of [pair.privateKey, pair.publicKey]) session.destroy(half)
    })
  }
  throw new HsmError(
    'HSM_MECHANISM_MISSING',
    'the token does neither ECDH on P-256 nor what age needs of RSA',
  )
}

type Make = (session: TokenSession) => Promise<pkcs11.KeyPair>

function waysToMake(session: TokenSession): readonly Make[] {
  const ways: Make[] = []
  if (session.can(...ecdhMechanisms)) ways.push(makeP256)
  if (!session.can(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN)) return ways
  const bitsMax = session.keySizeMax(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN)
  for (const bits of rsaBits) if (bits <= bitsMax) ways.push(one => makeRsa(one, bits))
  return ways
}

function makeP256(session: TokenSession): Promise<pkcs11.KeyPair> {
  const use = [{ type: pkcs11.CKA_DERIVE, value: true }]
  return session.generate(wrappingKeyLabel, pkcs11.CKM_EC_KEY_PAIR_GEN, p256Templates(use))
}

function makeRsa(session: TokenSession, bits: number): Promise<pkcs11.KeyPair> {
  return session.generate(wrappingKeyLabel, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, {
    publicKey: [
      { type: pkcs11.CKA_MODULUS_BITS, value: bits },
      { type: pkcs11.CKA_PUBLIC_EXPONENT, value: rsaExponent },
      { type: pkcs11.CKA_ENCRYPT, value: true },
    ],
    privateKey: [{ type: pkcs11.CKA_DECRYPT, value: true }],
  })
}

const passedOver: ReadonlySet<HsmErrorCode> = new Set([
  'HSM_ENVELOPE_INVALID',
  'HSM_MECHANISM_MISSING',
  'HSM_TOKEN_FAILED',
])

/** The next way is tried where the token has no such keys, and no other fault is passed over. */
function passOver(error: unknown): null {
  if (error instanceof HsmError && passedOver.has(error.code)) return null
  throw error
}

/** How the key of the token opens envelopes, having opened one; `null` where it does not. Throws `HSM_KEY_MISSING`. */
export async function provenUnwrapping(sessions: TokenSessions): Promise<Unwrapping | null> {
  const key = await sessions.use('reading the wrapping key', wrappingKey)
  if (key === null) throw new HsmError('HSM_KEY_MISSING', 'the token has no wrapping key')
  const trial = key.type === 'p256' ? trialOfAgreement(key.point) : trialOfRsa(key.modulus)
  for (const unwrapping of key.type === 'p256' ? (['ecdh'] as const) : rsaUnwrappings) {
    const isRight = await sessions
      .use('trying the wrapping key', session => trial(session, unwrapping))
      .catch(passOver)
    if (isRight === true) return unwrapping
  }
  return null
}

type Trial = (session: TokenSession, unwrapping: Unwrapping) => Promise<boolean>

function trialOfAgreement(point: Uint8Array): Trial {
  const peer = createECDH('prime256v1')
  const peerPoint = peer.generateKeys()
  return async session => {
    using expected = Secret.take(peer.computeSecret(point))
    using shared = await agree(session, peerPoint)
    return expected.expose(a => shared.expose(b => equalConstantTime(a, b)))
  }
}

function trialOfRsa(modulus: Uint8Array): Trial {
  const fileKey = randomBytes(fileKeyLength)
  const ciphertext = encryptOaep(modulus, fileKey)
  return async (session, unwrapping) => {
    using opened = await decrypt(session, unwrapping, ciphertext)
    return opened.expose(bytes => equalConstantTime(bytes, fileKey))
  }
}

/** ECDH: the x coordinate of the shared point. `peerPoint` is `04 || x || y`. */
export async function agree(session: TokenSession, peerPoint: Uint8Array): Promise<Secret> {
  const parameter: pkcs11.ECDH1 = {
    type: pkcs11.CK_PARAMS_EC_DH,
    kdf: CKD_NULL,
    publicData: view(peerPoint),
  }
  const key = session.requirePrivateKey(wrappingKeyLabel)
  const shared = await session.derive(
    key,
    { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter },
    // An object of this session only, which may be read: the private key itself stays sensitive.
    [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_SENSITIVE, value: false },
      { type: pkcs11.CKA_EXTRACTABLE, value: true },
      { type: pkcs11.CKA_VALUE_LEN, value: sharedSecretLength },
    ],
  )
  try {
    const secret = Secret.take(session.attribute(shared, pkcs11.CKA_VALUE))
    if (secret.byteLength === sharedSecretLength) return secret
    secret.dispose()
    throw new HsmError('HSM_TOKEN_FAILED', 'the shared secret of the token has another length than its curve')
  } finally {
    session.destroy(shared)
  }
}

/** The file key in the body of an `ssh-rsa` stanza. Throws `HSM_ENVELOPE_INVALID`. */
export async function decrypt(
  session: TokenSession,
  unwrapping: Unwrapping,
  ciphertext: Uint8Array,
): Promise<Secret> {
  const key = session.requirePrivateKey(wrappingKeyLabel)
  if (unwrapping === 'oaep') return fileKeyOf(await session.decrypt(key, oaepMechanism, view(ciphertext)))
  using block = Secret.take(await session.decrypt(key, { mechanism: pkcs11.CKM_RSA_X_509 }, view(ciphertext)))
  return fileKeyOf(block.expose(bytes => removeOaepPadding(bytes, ciphertext.byteLength)))
}

const oaepParameter: pkcs11.RsaOAEP = {
  type: pkcs11.CK_PARAMS_RSA_OAEP,
  hashAlg: pkcs11.CKM_SHA256,
  mgf: pkcs11.CKG_MGF1_SHA256,
  source: CKZ_DATA_SPECIFIED,
  sourceData: view(oaepLabel),
}
const oaepMechanism = { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter: oaepParameter }

function fileKeyOf(found: Uint8Array | null): Secret {
  if (found?.byteLength === fileKeyLength) return Secret.take(found)
  found?.fill(0)
  throw new HsmError('HSM_ENVELOPE_INVALID', 'the stanza for this token does not open')
}

function withoutZeros(number: Uint8Array): Uint8Array {
  return new Uint8Array(number.subarray(number.findIndex(byte => byte !== 0)))
}
