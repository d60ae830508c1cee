import { fromHex, toHex } from '../base/bytes.ts'
import { fields, is } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { extended, type PcrValues, pcrCount, unmeasured } from '../tpm/public/pcrs.ts'

/* What was measured, in its order. The log proves nothing by itself: replayed it must give the value that the TPM signs. */

export const eventsMax = 256
const whatLengthMax = 100
export const digestBytes = 32

export interface MeasuredEvent {
  readonly pcr: number
  /** For people; only the digest is proven. */
  readonly what: string
  readonly digest: Digest
}

export const isPcr = is.integer(0, pcrCount - 1)

export const isEventList = is.array(
  fields('event', { pcr: isPcr, what: is.string(whatLengthMax), digest: is.name(parseDigest) }),
  eventsMax,
)

/** The values of all PCRs that the log names, had they been zero when the machine started. */
export function replay(log: readonly MeasuredEvent[]): PcrValues {
  const values = new Map<number, Uint8Array>()
  for (const { pcr, digest } of log)
    values.set(pcr, extended(values.get(pcr) ?? unmeasured, fromHex(digest, digestBytes)))
  return values
}

export interface PcrClaim {
  readonly pcr: number
  /** 64 lower-case hex digits. */
  readonly value: Digest
}

export const isPcrList = is.array(fields('PCR', { pcr: isPcr, value: is.name(parseDigest) }), pcrCount)

export function pcrValuesOf(claims: readonly PcrClaim[]): PcrValues {
  return new Map(claims.map(({ pcr, value }) => [pcr, fromHex(value, digestBytes)]))
}

export function pcrClaimsOf(values: PcrValues): readonly PcrClaim[] {
  return [...values].map(([pcr, value]) => ({ pcr, value: parseDigest(toHex(value)) }))
}
