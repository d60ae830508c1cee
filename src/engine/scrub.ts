import { countText } from '../base/quantities.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { ScrubFinding } from '../storage/scrub-lines.ts'
import { combinedOutcome, type EpochOutcome } from './combined-outcome.ts'
import { isReliedOn, requireRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import type { EnginePorts } from './ports.ts'
import type { Task } from './task.ts'

type ScrubPorts = Pick<EnginePorts, 'ledger' | 'log' | 'scrub'>

const namedMax = 10
const ownWord = 'this is the storage’s own word; a check that reads the data proves it'

/** Of each repository of the profile, the present one first. */
export async function runScrubs(ports: ScrubPorts, task: Task): Promise<Outcome> {
  const { profile, binding } = task
  const outcomes: EpochOutcome[] = []
  for (const history of requireRepositories(ports, profile.name, binding))
    if (isReliedOn(history, binding))
      outcomes.push({ epoch: history.epoch, outcome: await runScrub(ports, task, history) })
  return combinedOutcome(outcomes)
}

/**
 * Has the storage hash what it keeps. It is not believed: damage that it reports is an alarm, and that it reports none
 * proves nothing. No passphrase is released for it.
 */
async function runScrub(
  ports: ScrubPorts,
  { profile, report, signal }: Task,
  history: RepositoryHistory,
): Promise<Outcome> {
  const { repository } = history
  report({ phase: 'scrubbing', bytesDone: 0, bytesTotal: 0, bytesStored: 0 })
  const { objects, bytes, damaged, findings } = await ports.scrub(
    profile.destinationVm,
    repository,
    ({ bytesDone, bytesTotal }) => report({ phase: 'scrubbing', bytesDone, bytesTotal, bytesStored: 0 }),
    signal,
  )
  // What the storage tells while it reads may have been hardly anything, or nothing at all.
  report({ phase: 'scrubbing', bytesDone: bytes, bytesTotal: bytes, bytesStored: 0 })
  if (damaged > 0) {
    for (const { name, fault } of findings)
      ports.log.error('the storage reports a damaged object', { repository, name, fault })
    throw new EngineError('SCRUB_DAMAGED', describe(history, damaged, findings))
  }
  return {
    snapshot: undefined,
    bytes,
    bytesStored: undefined,
    volumes: undefined,
    warnings: [ownWord, ...fewerThan(history, objects)],
    objects,
    snapshots: undefined,
    prune: undefined,
    drill: undefined,
  }
}

/** A key file and the snapshots at least. */
function fewerThan({ snapshots }: RepositoryHistory, objects: number): readonly string[] {
  const min = 1 + snapshots.length
  return objects < min ? [`the storage has ${objects} objects; the ledger names at least ${min}`] : []
}

/** Compared with the ledger by name, which is all that can be done without the passphrase. */
function describe(history: RepositoryHistory, damaged: number, findings: readonly ScrubFinding[]): string {
  const needed = new Set([
    `keys/${history.keyFile.id}`,
    ...history.snapshots.map(({ snapshot }) => `snapshots/${snapshot.id}`),
    ...history.indexSets.flatMap(({ index }) => index.map(({ id }) => `index/${id}`)),
  ])
  const what = ({ name }: ScrubFinding) => {
    if (name.startsWith('data/')) return 'a pack'
    return needed.has(name) ? 'which snapshots of the ledger need' : 'which no snapshot of the ledger needs'
  }
  const first = findings.slice(0, namedMax).map(one => `${one.name}, ${what(one)}`)
  const rest =
    damaged > first.length ? `; and ${damaged - first.length} more: the log of dom0 names the first 100` : ''
  return `the storage reports ${countText(damaged, 'damaged object')}: ${first.join('; ')}${rest}`
}
