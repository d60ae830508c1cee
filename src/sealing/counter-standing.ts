/* What a certified counter says about a store, for a verifier who is told both and can count neither. */

/** Which counter belongs to a machine; pinned when it was enrolled. */
export interface CounterAnchor {
  /** Of the TPM's memory. */
  readonly index: number
  /** The counter stands at `base + version`: as the machine keeps it for itself (`counter.ts`). */
  readonly base: number
}

/**
 * `even`: as it must be. `unfinished`: the store is one ahead, as a crash between writing it and counting leaves it; it counts when
 * it starts again. `store-behind`: the counter knows a newer store, so an old one was put back. `counter-behind`: it is another
 * counter, or the store was changed without it.
 */
export type CounterStanding = 'even' | 'unfinished' | 'store-behind' | 'counter-behind'

export function standingOf(
  value: number,
  { base }: Pick<CounterAnchor, 'base'>,
  version: number,
): CounterStanding {
  const ahead = version - (value - base)
  if (ahead === 0) return 'even'
  if (ahead === 1) return 'unfinished'
  return ahead < 0 ? 'store-behind' : 'counter-behind'
}
