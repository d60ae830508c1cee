import { hash } from 'node:crypto'
import { algorithm } from './constants.ts'
import { joined, u16 } from './marshal.ts'

export const digestLength = 32

/** SHA-256, the only hash that is used here. */
export function digestOf(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(hash('sha256', joined(...parts), 'buffer'))
}

/** The Name of a public area: what a TPM, a policy and a challenge call the object by. */
export function nameOf(area: Uint8Array): Uint8Array {
  return joined(u16(algorithm.sha256), digestOf(area))
}
