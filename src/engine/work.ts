import type { Outcome } from '../qrexec/calls/orders.ts'
import { runBackup } from './backup.ts'
import { runDrill } from './drill.ts'
import { runChecks, runRestore } from './examine.ts'
import type { EnginePorts } from './ports.ts'
import { runPrunes } from './prune.ts'
import { runScrubs } from './scrub.ts'
import type { Task } from './task.ts'

/** How a job comes to its point of no return, beyond which it cannot be cancelled. */
export interface Commitment {
  /** From now on. */
  readonly committing: () => void
  /** While `work` runs, and while no hold changes. Throws when the job was cancelled before. */
  readonly decide: <T>(work: () => Promise<T>) => Promise<T>
}

/** What each kind of job does. */
export async function work(
  ports: EnginePorts,
  task: Task,
  isSlow: boolean,
  { committing, decide }: Commitment,
): Promise<Outcome> {
  const { kind } = task.job
  switch (kind) {
    case 'backup': {
      const outcome = await runBackup(ports, { ...task, isSlow, committing })
      await showHead(ports, task)
      return outcome
    }
    case 'prune':
      return await runPrunes(ports, { ...task, decide })
    case 'scrub':
      return await runScrubs(ports, task)
    case 'check':
      return await runChecks(ports, task)
    case 'drill':
      return await runDrill(ports, task)
    case 'restore':
      return await runRestore(ports, task)
    default:
      return kind satisfies never
  }
}

/** A snapshot that nobody has witnessed yet is one all the same. */
async function showHead({ ledger, log }: EnginePorts, { job, profile, signal }: Task): Promise<void> {
  await ledger
    .publish(profile.passphraseVm, signal)
    .catch(error => log.warn('the HSM VM did not witness the new head', { job: job.id, error }))
}
