import { Buffer } from 'node:buffer'
import pkcs11 from 'pkcs11js'
import { HsmError } from './errors.ts'
import type { TokenSession } from './token-session.ts'

/* Keys on curves, as PKCS#11 writes them. */

/** PKCS#11 v3.0; not among the constants of pkcs11js. */
export const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055
export const CKM_EDDSA = 0x1057
export const CKK_EC_EDWARDS = 0x40

/** DER of the object identifier of P-256, and of the printable string that PKCS#11 v3.0 gives for Ed25519. */
const p256Parameters = Buffer.from('06082a8648ce3d030107', 'hex')
const ed25519Parameters = Buffer.concat([Buffer.of(0x13, 12), Buffer.from('edwards25519', 'latin1')])

interface Templates {
  readonly publicKey: pkcs11.Template
  readonly privateKey: pkcs11.Template
}

export function p256Templates(use: pkcs11.Template): Templates {
  return templates(pkcs11.CKK_EC, p256Parameters, use)
}

export function ed25519Templates(use: pkcs11.Template): Templates {
  return templates(CKK_EC_EDWARDS, ed25519Parameters, use)
}

function templates(type: number, parameters: Buffer, use: pkcs11.Template): Templates {
  const keyType = { type: pkcs11.CKA_KEY_TYPE, value: type }
  return {
    publicKey: [keyType, { type: pkcs11.CKA_EC_PARAMS, value: parameters }],
    privateKey: [keyType, ...use],
  }
}

/** `CKK_…` */
export function keyType(session: TokenSession, key: Buffer): number {
  // A number of the machine's own size and order, which here is little-endian.
  return session.attribute(key, pkcs11.CKA_KEY_TYPE)[0] ?? 0
}

/** CKA_EC_POINT is a DER octet string of short length around the point. */
export function curvePoint(session: TokenSession, key: Buffer, length: number): Uint8Array {
  const der = session.attribute(key, pkcs11.CKA_EC_POINT)
  if (der.byteLength !== length + 2 || der[0] !== 0x04 || der[1] !== length)
    throw new HsmError('HSM_TOKEN_FAILED', 'the public key in the token has an unknown form')
  return new Uint8Array(der.subarray(2))
}
