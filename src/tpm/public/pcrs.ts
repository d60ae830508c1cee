import { TpmError } from '../errors.ts'
import { algorithm } from './constants.ts'
import { digestLength, digestOf } from './hash.ts'
import { joined, u8, u16, u32 } from './marshal.ts'
import type { TpmReader } from './reader.ts'

/* Platform configuration registers of the SHA-256 bank. One can only be extended: new = SHA-256(old || digest). */

export type PcrValues = ReadonlyMap<number, Uint8Array>

export const pcrCount = 24
/** The debug PCR and the one for applications, which every program may reset (PC Client Platform TPM Profile 4.6). */
const resettable: ReadonlySet<number> = new Set([16, 23])

const bitmapLength = 3
const banksMax = 16
const bitmapLengthMax = 4

/** Sorted, each once. Throws `TPM_PCR_RESETTABLE`, or `TPM_NOT_FOUND` for none and for what no TPM has. */
export function usablePcrs(pcrs: Iterable<number>): readonly number[] {
  const sorted = [...new Set(pcrs)].sort((a, b) => a - b)
  if (sorted.length === 0) throw new TpmError('TPM_NOT_FOUND', 'no PCR was named')
  for (const pcr of sorted) {
    if (!Number.isInteger(pcr) || pcr < 0 || pcr >= pcrCount)
      throw new TpmError('TPM_NOT_FOUND', `PCR ${pcr}: a TPM has 0 to ${pcrCount - 1}`)
    if (resettable.has(pcr))
      throw new TpmError('TPM_PCR_RESETTABLE', `PCR ${pcr} can be reset by every program`)
  }
  return sorted
}

/** TPML_PCR_SELECTION of the SHA-256 bank. */
export function pcrSelection(pcrs: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(bitmapLength)
  for (const pcr of pcrs) bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7))
  return joined(u32(1), u16(algorithm.sha256), u8(bitmapLength), bitmap)
}

export interface PcrBank {
  readonly algorithm: number
  /** In ascending order. */
  readonly pcrs: readonly number[]
}

export function readPcrSelection(reader: TpmReader): readonly PcrBank[] {
  const count = reader.u32()
  if (count > banksMax) throw reader.malformed(`${count} banks of PCRs`)
  return Array.from({ length: count }, () => {
    const bank = reader.u16()
    const length = reader.u8()
    if (length > bitmapLengthMax) throw reader.malformed(`a bank of ${length * 8} PCRs`)
    const bits = [...reader.take(length)]
    const pcrs = bits.flatMap((byte, at) =>
      [0, 1, 2, 3, 4, 5, 6, 7].filter(bit => (byte >> bit) & 1).map(bit => at * 8 + bit),
    )
    return { algorithm: bank, pcrs }
  })
}

/** Whether exactly `pcrs` (sorted) of the SHA-256 bank are selected. */
export function isSelection(banks: readonly PcrBank[], pcrs: readonly number[]): boolean {
  const [bank] = banks
  return banks.length === 1 && bank?.algorithm === algorithm.sha256 && bank.pcrs.join() === pcrs.join()
}

/** What a quote and a policy hold: SHA-256 over the values in ascending order of their numbers. */
export function pcrDigest(values: PcrValues): Uint8Array {
  return digestOf(...[...values].sort(([a], [b]) => a - b).map(([, value]) => value))
}

export function extended(value: Uint8Array, digest: Uint8Array): Uint8Array {
  return digestOf(value, digest)
}

/** What a static PCR holds when the machine starts. */
export const unmeasured = new Uint8Array(digestLength)

/** All zeros or all ones: no measurement gives that, and a failed measured start does (qubes-issues #2569). */
export function isUnmeasured(value: Uint8Array): boolean {
  const [first] = value
  return (first === 0 || first === 0xff) && value.every(byte => byte === first)
}

/** Throws `TPM_PCR_UNMEASURED`. */
export function requireMeasured(values: PcrValues): void {
  for (const [pcr, value] of values)
    if (isUnmeasured(value))
      throw new TpmError('TPM_PCR_UNMEASURED', `PCR ${pcr} is all ${value[0] === 0 ? 'zeros' : 'ones'}`)
}
