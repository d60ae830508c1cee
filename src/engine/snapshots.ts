import type { ProfileName } from '../base/names.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { SnapshotSummary } from '../qrexec/calls/orders.ts'
import { readableRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import { heldUntil, judgeSnapshots } from './retained.ts'

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
  const all = epochs.map(epoch => ports.ledger.repository(name, epoch)).filter(history => history !== null)
  const readable = readableRepositories(ports, name, binding)
  const isReadable = ({ epoch }: RepositoryHistory) => readable.some(one => one.epoch === epoch)
  const lost = all
    .filter(history => !isReadable(history))
    .flatMap(({ snapshots }) => snapshots)
    .map(snapshot => ({ snapshot, reasons: ['older-epoch'] as const }))
  return [...lost, ...judgeSnapshots(profile.retention, readable, ports.environment.clock.now())]
    .sort((one, other) => one.snapshot.entry - other.snapshot.entry)
    .map(one => summarise(all, one))
}

function summarise(
  histories: readonly RepositoryHistory[],
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
    heldUntil: heldUntil(histories, snapshotId),
  }
}
