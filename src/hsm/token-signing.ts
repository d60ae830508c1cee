import pkcs11 from 'pkcs11js'
import { view } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { ed25519PublicKeyLength, ed25519SignatureLength, p256PointLength } from '../crypto/signature.ts'
import {
  CKK_EC_EDWARDS,
  CKM_EC_EDWARDS_KEY_PAIR_GEN,
  CKM_EDDSA,
  curvePoint,
  ed25519Templates,
  keyType,
  p256Templates,
} from './token-curves.ts'
import type { TokenSealKey } from './token-protocol.ts'
import type { TokenSession } from './token-session.ts'

/* The keys of a token that sign, each one thing. */

/** The key by which the HSM VM witnesses the ledger. */
export const witnessKeyLabel = 'strongroom-witness'
/** The key by which its holder seals. */
export const sealKeyLabel = 'strongroom-seal'

const toSign = [{ type: pkcs11.CKA_SIGN, value: true }]
const edwardsMechanisms = [CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA]

/** Ed25519, for cosignatures know nothing else; none where the token cannot. */
export async function makeWitnessKey(session: TokenSession): Promise<void> {
  if (session.find(pkcs11.CKO_PRIVATE_KEY, witnessKeyLabel) !== null || !session.can(...edwardsMechanisms))
    return
  await session.generate(witnessKeyLabel, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed25519Templates(toSign))
}

export function witnessKey(session: TokenSession): Uint8Array | null {
  const key = session.find(pkcs11.CKO_PUBLIC_KEY, witnessKeyLabel)
  return key && curvePoint(session, key, ed25519PublicKeyLength)
}

/** 64 bytes: Ed25519 with the witness key. */
export function signAsWitness(session: TokenSession, message: Uint8Array): Promise<Uint8Array> {
  return session.sign(
    session.requirePrivateKey(witnessKeyLabel),
    CKM_EDDSA,
    view(message),
    ed25519SignatureLength,
  )
}

/** Ed25519 where the token can, else P-256. */
export async function makeSealKey(session: TokenSession): Promise<void> {
  if (session.find(pkcs11.CKO_PRIVATE_KEY, sealKeyLabel) !== null) return
  if (session.can(...edwardsMechanisms))
    await session.generate(sealKeyLabel, CKM_EC_EDWARDS_KEY_PAIR_GEN, ed25519Templates(toSign))
  else await session.generate(sealKeyLabel, pkcs11.CKM_EC_KEY_PAIR_GEN, p256Templates(toSign))
}

export function sealKey(session: TokenSession): TokenSealKey | null {
  const key = session.find(pkcs11.CKO_PUBLIC_KEY, sealKeyLabel)
  if (key === null) return null
  return keyType(session, key) === CKK_EC_EDWARDS
    ? { type: 'ed25519', bytes: curvePoint(session, key, ed25519PublicKeyLength) }
    : { type: 'ecdsa-p256', bytes: curvePoint(session, key, p256PointLength) }
}

/** 64 bytes with that key: Ed25519, or ECDSA P-256 over SHA-256 as `r || s`. */
export function seal(session: TokenSession, message: Uint8Array): Promise<Uint8Array> {
  const key = session.requirePrivateKey(sealKeyLabel)
  return keyType(session, key) === CKK_EC_EDWARDS
    ? session.sign(key, CKM_EDDSA, view(message), ed25519SignatureLength)
    : session.sign(key, pkcs11.CKM_ECDSA, view(sha256(message)), ed25519SignatureLength)
}
