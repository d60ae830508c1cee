import type { Outcome } from '../qrexec/calls/orders.ts'
import { EngineError } from './errors.ts'

const warningsMax = 100

/** What a job did in one repository. */
export interface EpochOutcome {
  readonly epoch: number
  readonly outcome: Outcome
}

/** Of a job in the repositories of several epochs: sums, and whose each warning is. Throws `REPOSITORY_UNKNOWN` for none. */
export function combinedOutcome(parts: readonly EpochOutcome[]): Outcome {
  const outcomes = parts.map(({ outcome }) => outcome)
  const [first] = outcomes
  if (first === undefined)
    throw new EngineError('REPOSITORY_UNKNOWN', 'no repository of the profile has a snapshot')
  if (outcomes.length === 1) return first
  const sum = (of: (outcome: Outcome) => number | undefined) => {
    const found = outcomes.map(of).filter(count => count !== undefined)
    return found.length === 0 ? undefined : found.reduce((all, one) => all + one, 0)
  }
  return {
    snapshot: undefined,
    bytes: sum(({ bytes }) => bytes),
    bytesStored: sum(({ bytesStored }) => bytesStored),
    volumes: undefined,
    warnings: parts
      .flatMap(({ epoch, outcome }) => outcome.warnings.map(text => `epoch ${epoch}: ${text}`))
      .slice(0, warningsMax),
    objects: sum(({ objects }) => objects),
    snapshots: sum(({ snapshots }) => snapshots),
    drill: undefined,
    prune: first.prune && {
      dryRun: first.prune.dryRun,
      forgotten: sum(({ prune }) => prune?.forgotten) ?? 0,
      packsRemoved: sum(({ prune }) => prune?.packsRemoved) ?? 0,
      packsRewritten: sum(({ prune }) => prune?.packsRewritten) ?? 0,
      bytesFreed: sum(({ prune }) => prune?.bytesFreed) ?? 0,
    },
  }
}
