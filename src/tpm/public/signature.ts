import { type KeyObject, verify } from 'node:crypto'
import { algorithm } from './constants.ts'
import { joined, sized, u16 } from './marshal.ts'
import { coordinateLength, padded } from './public-area.ts'
import { TpmReader } from './reader.ts'

/* TPMT_SIGNATURE (part 2, 11.3.4) of ECDSA with SHA-256. */

/** `r || s` of 32 bytes each. Throws `TPM_MALFORMED`. */
export function parseSignature(untrustedBytes: Uint8Array): Uint8Array {
  const reader = new TpmReader(untrustedBytes, 'a signature of a TPM')
  const signature = readSignature(reader)
  reader.end()
  return signature
}

function readSignature(reader: TpmReader): Uint8Array {
  const scheme = reader.u16()
  const hash = reader.u16()
  if (scheme !== algorithm.ecdsa || hash !== algorithm.sha256)
    throw reader.malformed('it is not ECDSA with SHA-256')
  return joined(padded(reader.sized(coordinateLength)), padded(reader.sized(coordinateLength)))
}

/** The TPM's form of `r || s`. */
export function encodeSignature(signature: Uint8Array): Uint8Array {
  const halves = [signature.subarray(0, coordinateLength), signature.subarray(coordinateLength)]
  return joined(u16(algorithm.ecdsa), u16(algorithm.sha256), ...halves.map(sized))
}

/** `signature` is `r || s`. */
export function isSignedBy(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
  } catch {
    return false // what OpenSSL cannot even decode has not been verified
  }
}
