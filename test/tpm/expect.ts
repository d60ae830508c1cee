import type { Check } from '../../src/tpm/public/checks.ts'

/** The items that failed, with those that nothing was expected of left out. */
export function failedItems(checks: readonly Check[]): readonly string[] {
  return checks.filter(({ verdict }) => verdict === 'failed').map(({ item }) => item)
}

/** `bytes` with one bit turned. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  return bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
}

export function allBits(bytes: Uint8Array): readonly number[] {
  return Array.from({ length: bytes.byteLength * 8 }, (_, bit) => bit)
}
