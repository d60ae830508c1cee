import { BaseError } from './base-errors.ts'
import { GiB, KiB, MiB } from './bytes.ts'
import { printable } from './errors.ts'

/** Bytes from `offset` on, at least one. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

const units: Readonly<Record<string, number>> = { '': 1, KiB, MiB, GiB, TiB: 1024 * GiB }

/** `OFFSET+LENGTH`, each in bytes or with a unit: `1GiB+64MiB`, `0+512`. */
export function parseByteRange(untrustedText: string): ByteRange {
  const [offset, length, none] = untrustedText.split('+').map(amountIn)
  const whole = offset != null && length != null && none === undefined
  if (whole && length > 0 && Number.isSafeInteger(offset + length)) return { offset, length }
  throw new BaseError(
    'FIELD_INVALID',
    `not a range: '${printable(untrustedText).slice(0, 40)}'; expected OFFSET+LENGTH, e.g. 1GiB+64MiB (bytes, KiB, MiB, GiB, TiB)`,
  )
}

/** `OFFSET+LENGTH` in bytes. */
export function byteRangeText({ offset, length }: ByteRange): string {
  return `${offset}+${length}`
}

export function endOf({ offset, length }: ByteRange): number {
  return offset + length
}

/** What of `bytes`, which lie at `at`, is in the range; empty where nothing is. */
export function within(range: ByteRange, bytes: Uint8Array, at: number): Uint8Array {
  const from = Math.max(range.offset - at, 0)
  return bytes.subarray(from, Math.max(endOf(range) - at, from))
}

function amountIn(text: string): number | null {
  const [, digits, unit = ''] = /^(\d{1,16})([KMGT]iB)?$/.exec(text) ?? []
  return digits === undefined ? null : Number(digits) * (units[unit] ?? 1)
}
