import { utf8 } from '../base/bytes.ts'
import { isPassing, reportOf } from '../base/errors.ts'
import {
  dom0,
  type IdempotencyKey,
  type ProfileName,
  parseIdempotencyKey,
  type SnapshotId,
} from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type DrillStanding, drillStanding } from '../drill/due.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Configuration } from '../profiles/config.ts'
import type { Profile } from '../profiles/profile.ts'
import { readableRepositories } from './epochs.ts'
import type { Orders } from './orders.ts'
import type { EnginePorts } from './ports.ts'

type Ports = Pick<EnginePorts, 'environment' | 'log' | 'ledger'>

/**
 * Orders the restore drills that the sealed profiles want, in dom0's own name: what was drilled is in the ledger, so nothing else is
 * kept. One that could not come to a verdict is tried again the next day.
 */
export class SealedDrills {
  readonly #ports: Ports
  readonly #orders: Orders
  /** What is still to be drilled of those that were due together, one after another. */
  readonly #waiting = new Map<ProfileName, readonly SnapshotId[]>()

  constructor(ports: Ports, orders: Orders) {
    this.#ports = ports
    this.#orders = orders
  }

  /** One look at the clock, by what is sealed now. */
  async tick(value: Configuration): Promise<void> {
    const { environment, ledger } = this.#ports
    const now = environment.clock.now()
    for (const profile of value.profiles.values()) {
      const binding = value.bindings.get(profile.name)
      if (profile.drill === null || binding === undefined) continue
      if (this.#orders.board.running(profile.name, 'drill') !== undefined) continue
      const [next, ...others] = this.#waiting.get(profile.name) ?? []
      this.#waiting.set(profile.name, others)
      if (next !== undefined) {
        await this.#order(profile.name, next, now)
        continue
      }
      const histories = readableRepositories(this.#ports, profile.name, binding)
      const standing = standingOf(profile, histories, now, ledger.root)
      if (standing?.due) this.#waiting.set(profile.name, standing.next)
    }
  }

  async #order(profile: ProfileName, snapshot: SnapshotId, now: Date): Promise<void> {
    const { log } = this.#ports
    try {
      const order = { kind: 'drill', profile, snapshot, initiator: dom0, ifRunning: 'refuse' } as const
      const job = await this.#orders.order({ ...order, key: keyOf(profile, snapshot, now) })
      log.info('a restore drill that was due was ordered', { profile, snapshot, job: job.id })
    } catch (error) {
      log.error('a restore drill that is due could not be ordered', { profile, snapshot, error })
      if (isPassing(reportOf(error)))
        this.#waiting.set(profile, [snapshot, ...(this.#waiting.get(profile) ?? [])])
    }
  }
}

/** How a profile's drills stand; `null`: it seals none, or nothing is stored. `seed` decides lots. */
export function standingOf(
  { drill }: Pick<Profile, 'drill'>,
  histories: readonly RepositoryHistory[],
  now: Date,
  seed: string,
): DrillStanding | null {
  const stored = histories.filter(({ snapshots }) => snapshots.length > 0)
  if (drill === null || stored.length === 0) return null
  const inOrder = (one: { readonly entry: number }, other: { readonly entry: number }) =>
    one.entry - other.entry
  const snapshots = stored
    .flatMap(history => history.snapshots)
    .sort(inOrder)
    .map(({ entry, snapshotId }) => ({ entry, snapshot: snapshotId }))
  const drills = stored
    .flatMap(history => history.drills)
    .sort(inOrder)
    .map(({ entry, snapshotId, time, result, levels }) => ({
      entry,
      snapshot: snapshotId,
      time,
      passed: result === 'passed',
      levels,
    }))
  const began = new Date(Math.min(...stored.map(({ time }) => time.getTime())))
  return drillStanding(drill, snapshots, drills, began, now, seed)
}

/** The same for one day, so that a restart orders nothing twice. */
function keyOf(profile: ProfileName, snapshot: SnapshotId, now: Date): IdempotencyKey {
  const day = now.toISOString().slice(0, 10)
  return parseIdempotencyKey(`drill-${sha256Hex(utf8(`${profile} ${snapshot} ${day}`)).slice(0, 40)}`)
}
