import { algorithm, attribute, curveP256 } from './constants.ts'
import { nameOf } from './hash.ts'
import { joined, nothing, sized, u16, u32 } from './marshal.ts'

/* The key whose holder approves policies: not of a TPM, so it has the name that its public area gives it here. */

/** A P-256 key that verifies ECDSA with SHA-256, as a TPM loads it. */
export function approvalKeyArea(x: Uint8Array, y: Uint8Array): Uint8Array {
  return joined(
    u16(algorithm.ecc),
    u16(algorithm.sha256),
    u32(attribute.userWithAuth | attribute.sign),
    sized(nothing),
    u16(algorithm.none),
    u16(algorithm.ecdsa),
    u16(algorithm.sha256),
    u16(curveP256),
    u16(algorithm.none),
    sized(x),
    sized(y),
  )
}

/** For `authorisedPolicy`. */
export function approvalKeyName(x: Uint8Array, y: Uint8Array): Uint8Array {
  return nameOf(approvalKeyArea(x, y))
}
