import type { Milliseconds } from '../base/brand.ts'
import { isPassing, reportOf } from '../base/errors.ts'
import { dom0, type ProfileName } from '../base/names.ts'
import type { Profile } from '../profiles/profile.ts'
import { dueRun, keyOfRun, nextRuns } from '../profiles/schedule.ts'
import type { Orders } from './orders.ts'
import type { EnginePorts } from './ports.ts'
import { SealedDrills } from './sealed-drills.ts'

const tickMilliseconds: Milliseconds = 20_000

type Ports = Pick<EnginePorts, 'environment' | 'log' | 'configuration' | 'ledger'>

/**
 * Orders the backups and drills that the sealed profiles schedule, in dom0's own name, whether or not there is a management VM. What ran last
 * is in the ledger, so nothing else is kept. An order that was refused is recorded as every refusal, and left until the
 * next due time; one that could not be taken yet is tried again.
 */
export class SealedSchedules {
  readonly #ports: Ports
  readonly #orders: Orders
  readonly #drills: SealedDrills
  /** Runs that want no further order although the ledger has none of dom0's for them: refused, or joined to a job. */
  readonly #settled = new Map<ProfileName, Date>()

  constructor(ports: Ports, orders: Orders) {
    this.#ports = ports
    this.#orders = orders
    this.#drills = new SealedDrills(ports, orders)
  }

  /** Until `signal`; no failure ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const { environment, log } = this.#ports
    let following = true
    while (!signal.aborted) {
      try {
        await this.tick()
        following = true
      } catch (error) {
        // Once, not at every look: this may last for days.
        if (following) log.error('the sealed schedules cannot be followed', { error })
        following = false
      }
      await environment.clock.sleep(tickMilliseconds, signal).catch(() => {})
    }
  }

  /** One look at the clock. Throws when the configuration cannot be verified. */
  async tick(): Promise<void> {
    const { value } = await this.#ports.configuration.current()
    for (const profile of value.profiles.values()) {
      const due = this.#dueRun(profile)
      if (due !== null) await this.#order(profile.name, due)
    }
    await this.#drills.tick(value)
  }

  #dueRun({ name, schedule }: Profile): Date | null {
    if (schedule === null) return null
    const { ledger, environment } = this.#ports
    const now = environment.clock.now()
    const due = dueRun({ schedule, seed: name, lastRun: lastRun(ledger, name, now), now })
    return due?.getTime() === this.#settled.get(name)?.getTime() ? null : due
  }

  async #order(profile: ProfileName, due: Date): Promise<void> {
    const { log } = this.#ports
    try {
      const key = keyOfRun(profile, due)
      const job = await this.#orders.order({
        kind: 'backup',
        profile,
        initiator: dom0,
        key,
        ifRunning: 'join',
      })
      log.info('a backup of a sealed schedule was ordered', { profile, due, job: job.id })
      this.#settled.set(profile, due)
    } catch (error) {
      log.error('a backup of a sealed schedule could not be ordered', { profile, due, error })
      if (!isPassing(reportOf(error))) this.#settled.set(profile, due)
    }
  }
}

/** When the sealed schedule runs next; `null` without one. */
export function nextSealedRun(
  { name, schedule }: Pick<Profile, 'name' | 'schedule'>,
  now: Date,
): Date | null {
  return schedule === null ? null : (nextRuns(schedule, name, now, 1)[0] ?? null)
}

/**
 * The last backup that dom0 ordered; when the configuration came into force if it has ordered none. A time that is yet to
 * come is that of a clock that was ahead: it must not keep backups from being ordered until then.
 */
function lastRun(ledger: Ports['ledger'], profile: ProfileName, now: Date): Date | null {
  const own = ledger
    .orders(profile)
    .findLast(one => one.initiator === dom0 && one.kind === 'backup' && one.time <= now)
  if (own !== undefined) return own.time
  return ledger.configured === null || ledger.configured <= now ? ledger.configured : ledger.began
}
