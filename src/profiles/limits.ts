import { dayMilliseconds } from '../base/quantities.ts'

const minute = 60_000

/** How often a profile may be ordered; `null`: no such limit. */
export interface Limits {
  /** In any 24 hours, not by the calendar day: a limit that resets at midnight allows twice as many around it. */
  readonly ordersPerDay: number | null
  readonly minutesBetween: number | null
}

export type Permission =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly reason: string; readonly retryAt: Date }

/**
 * Whether another order may be taken now. `history` are the times of orders taken before, in any order. Times after
 * `now` count as recent: a clock that was set back must not lift a limit.
 */
export function mayOrder(limits: Limits | null, history: readonly Date[], now: Date): Permission {
  const times = history.map(time => time.getTime()).sort((a, b) => b - a)
  const refusals = [
    tooSoon(limits?.minutesBetween ?? null, times, now),
    tooMany(limits?.ordersPerDay ?? null, times, now),
  ]
    .filter(refusal => refusal !== null)
    .sort((a, b) => b.retryAt.getTime() - a.retryAt.getTime())
  return refusals[0] ?? { allowed: true }
}

type Refusal = Extract<Permission, { allowed: false }>

/** `times` are the newest first. */
function tooSoon(minutesBetween: number | null, times: readonly number[], now: Date): Refusal | null {
  const [last] = times
  if (minutesBetween === null || last === undefined) return null
  const free = last + minutesBetween * minute
  return free > now.getTime()
    ? refusal(`less than ${minutesBetween} minutes after the order before`, free)
    : null
}

function tooMany(ordersPerDay: number | null, times: readonly number[], now: Date): Refusal | null {
  if (ordersPerDay === null) return null
  // The order that must be a day old before there is room for one more.
  const blocking = times[ordersPerDay - 1]
  if (blocking === undefined) return null
  const free = blocking + dayMilliseconds
  return free > now.getTime() ? refusal(`more than ${ordersPerDay} orders within 24 hours`, free) : null
}

function refusal(reason: string, free: number): Refusal {
  const retryAt = new Date(free)
  return { allowed: false, reason: `${reason}; the next is possible at ${retryAt.toISOString()}`, retryAt }
}
