/** An end-to-end story. `run` throws at the first thing that is not as it should be. */
export interface Scenario {
  readonly summary: string
  run(say: (text: string) => void): Promise<void>
}

/** Throws with `what` unless `condition` holds. */
export function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what)
}
