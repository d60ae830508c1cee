/**
 * What whoever orders may do with holds. A hold only ever keeps more, so anyone who may order may set one; but he could
 * keep for ever what is to be gone, and one who ends holds takes away what another relies on. Both are sealed.
 */
export interface HoldLimits {
  /** How far ahead a hold may end; 0: there are no holds. */
  readonly daysMax: number
  /** Whether a hold may be ended before its date. The retention then counts as if it had never been. */
  readonly mayEnd: boolean
}

export const holdLimitsDefault: HoldLimits = { daysMax: 366, mayEnd: false }

const day = 24 * 3_600_000

/** The end of a hold that is asked for until `wanted`: whole days, UTC; `null` when it is past or too far ahead. */
export function holdEnd({ daysMax }: HoldLimits, wanted: Date, now: Date): Date | null {
  const end = Math.ceil(wanted.getTime() / day) * day
  const latest = Math.ceil(now.getTime() / day) * day + daysMax * day
  return daysMax > 0 && end > now.getTime() && end <= latest ? new Date(end) : null
}
