import type { ProfileName } from '../base/names.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { SnapshotSummary } from '../qrexec/calls/orders.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import { judgeSnapshots } from './retained.ts'

/** What the ledger says of a profile's snapshots, of all epochs, oldest first, and why each stays. */
export async function summariesOf(
  ports: EnginePorts,
  name: ProfileName,
): Promise<readonly SnapshotSummary[]> {
  const { value } = await ports.configuration.current()
  const profile = value.profiles.get(name)
  const binding = value.bindings.get(name)
  if (profile === undefined || binding === undefined)
    throw new EngineError('PROFILE_NOT_FOUND', `the sealed configuration has no profile '${name}'`)
  const epochs = Array.from({ length: binding.epoch }, (_, index) => index + 1)
  return epochs
    .map(epoch => ports.ledger.repository(name, epoch))
    .filter((history): history is RepositoryHistory => history !== null)
    .flatMap(history => {
      if (history.epoch < binding.epoch)
        return history.snapshots.map(snapshot => summarise(history, { snapshot, reasons: ['older-epoch'] }))
      const judged = judgeSnapshots(profile.retention, history, ports.environment.clock.now())
      return judged.map(one => summarise(history, one))
    })
}

function summarise(
  { holds }: RepositoryHistory,
  { snapshot, reasons }: ReturnType<typeof judgeSnapshots>[number],
): SnapshotSummary {
  const { snapshotId, job, time, entry, epoch, volumes, bytes, bytesStored } = snapshot
  return {
    snapshot: snapshotId,
    job,
    time,
    entry,
    epoch,
    volumes,
    bytes,
    bytesStored,
    keptBy: reasons,
    heldUntil: holds.get(snapshotId) ?? null,
  }
}
