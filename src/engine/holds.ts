import type { ProfileName, SnapshotId, VmName } from '../base/names.ts'
import type { EntryOf } from '../ledger/entry.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import { type HoldLimits, holdEnd } from '../profiles/holds.ts'
import type { SnapshotSummary } from '../qrexec/calls/orders.ts'
import { readableRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import { summariesOf } from './snapshots.ts'

export interface HoldRequest {
  readonly profile: ProfileName
  readonly snapshot: SnapshotId
  readonly initiator: VmName
}

interface Found {
  readonly history: RepositoryHistory
  readonly limits: HoldLimits
  readonly common: Omit<EntryOf<'hold-end'>, 'type'>
}

/**
 * Holds a snapshot until at least `until`. One that is held as long already is left as it is, and the ledger with it.
 * Throws `HOLD_DATE`, `SNAPSHOT_NOT_FOUND`, `PROFILE_NOT_FOUND`.
 */
export async function holdSnapshot(
  ports: EnginePorts,
  request: HoldRequest,
  until: Date,
): Promise<SnapshotSummary> {
  const { history, limits, common } = await find(ports, request)
  const end = holdEnd(limits, until, common.time)
  if (end === null)
    throw new EngineError(
      'HOLD_DATE',
      until <= common.time
        ? `a hold until ${dayOf(until)} would be over already`
        : `a hold until ${dayOf(until)}; at most ${limits.daysMax} days are sealed`,
    )
  if ((history.holds.get(request.snapshot)?.getTime() ?? 0) < end.getTime())
    await ports.ledger.append([{ type: 'hold', ...common, until: end }])
  return summaryOf(ports, request)
}

/** Throws `HOLD_FIXED`, `HOLD_NOT_FOUND`, and as `holdSnapshot`. */
export async function endHold(ports: EnginePorts, request: HoldRequest): Promise<SnapshotSummary> {
  const { history, limits, common } = await find(ports, request)
  if (!history.holds.has(request.snapshot))
    throw new EngineError('HOLD_NOT_FOUND', `snapshot ${request.snapshot} is not held`)
  if (!limits.mayEnd)
    throw new EngineError('HOLD_FIXED', `holds of profile '${request.profile}' end at their dates`)
  await ports.ledger.append([{ type: 'hold-end', ...common }])
  return summaryOf(ports, request)
}

/** `2027-01-31`, in UTC. */
function dayOf(time: Date): string {
  return time.toISOString().slice(0, 10)
}

async function find(ports: EnginePorts, { profile: name, snapshot, initiator }: HoldRequest): Promise<Found> {
  const { value, digest } = await ports.configuration.current()
  const profile = value.profiles.get(name)
  const binding = value.bindings.get(name)
  if (profile === undefined || binding === undefined)
    throw new EngineError('PROFILE_NOT_FOUND', `the sealed configuration has no profile '${name}'`)
  const history = readableRepositories(ports, name, binding).find(({ snapshots }) =>
    snapshots.some(({ snapshotId }) => snapshotId === snapshot),
  )
  if (history === undefined)
    throw new EngineError(
      'SNAPSHOT_NOT_FOUND',
      `the ledger has no snapshot ${snapshot} in an epoch that is sealed`,
    )
  const time = ports.environment.clock.now()
  const common = { time, profile: name, epoch: history.epoch, snapshotId: snapshot, initiator }
  return { history, limits: profile.holds, common: { ...common, configuration: digest } }
}

async function summaryOf(ports: EnginePorts, { profile, snapshot }: HoldRequest): Promise<SnapshotSummary> {
  const found = (await summariesOf(ports, profile)).find(one => one.snapshot === snapshot)
  if (found === undefined) throw new EngineError('SNAPSHOT_NOT_FOUND', `there is no snapshot ${snapshot}`)
  return found
}
