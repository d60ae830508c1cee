import { SealError } from './errors.ts'

/* The one accepted form of an ECDSA P-256 signature: `r || s` with the lower s. */

/** n of P-256, FIPS 186-5. */
const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
const halfOrder = order >> 1n
const partLength = 32

/** With ECDSA, (r, n - s) verifies wherever (r, s) does; only the lower s is accepted, so that nobody can make a twin. */
export function hasLowerS(signature: Uint8Array): boolean {
  return signature.byteLength !== 2 * partLength || sOf(signature) <= halfOrder
}

/** The same signature in the accepted form. Throws `SEAL_SIGNATURE_INVALID` for another length. */
export function lowerS(signature: Uint8Array): Uint8Array {
  if (signature.byteLength !== 2 * partLength)
    throw new SealError('SEAL_SIGNATURE_INVALID', `an ECDSA signature of ${signature.byteLength} bytes`)
  if (hasLowerS(signature)) return signature
  const s = (order - sOf(signature)).toString(16).padStart(2 * partLength, '0')
  return new Uint8Array(Buffer.concat([signature.subarray(0, partLength), Buffer.from(s, 'hex')]))
}

function sOf(signature: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(signature.subarray(partLength)).toString('hex')}`)
}
