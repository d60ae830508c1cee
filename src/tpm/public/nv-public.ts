import { algorithm, limits } from './constants.ts'
import { nameOf } from './hash.ts'
import { joined, nothing, sized, u16, u32 } from './marshal.ts'
import { TpmReader } from './reader.ts'

/* TPMS_NV_PUBLIC (part 2, 13.5): what an index of a TPM's memory is, and who may do what with it. */

const counterType = 0x10
const nvAttribute = {
  ownerWrite: 0x2,
  ownerRead: 0x20000,
  authRead: 0x40000,
  noDictionaryAttack: 0x2000000,
  written: 0x20000000,
} as const

export const counterLength = 8

/** Written by the owner, read by everyone; never set, only counted up. */
const counterAttributes =
  counterType |
  nvAttribute.ownerWrite |
  nvAttribute.ownerRead |
  nvAttribute.authRead |
  nvAttribute.noDictionaryAttack

export interface NvPublic {
  readonly index: number
  readonly nameAlgorithm: number
  readonly attributes: number
  readonly policy: Uint8Array
  readonly bytes: number
}

export function parseNvPublic(untrustedBytes: Uint8Array): NvPublic {
  const reader = new TpmReader(untrustedBytes, 'an index of a TPM')
  const [index, nameAlgorithm, attributes] = [reader.u32(), reader.u16(), reader.u32()]
  const area = { index, nameAlgorithm, attributes, policy: reader.sized(limits.digest), bytes: reader.u16() }
  reader.end()
  return area
}

/** The public area of a counter as this product makes it. */
export function counterPublic(index: number, isWritten: boolean): Uint8Array {
  const attributes = counterAttributes + (isWritten ? nvAttribute.written : 0)
  return joined(u32(index), u16(algorithm.sha256), u32(attributes), sized(nothing), u16(counterLength))
}

/** The name of a counter that has been counted up at least once: proves its kind and its rights. */
export function counterName(index: number): Uint8Array {
  return nameOf(counterPublic(index, true))
}
