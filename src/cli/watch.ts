import type { JobView } from '../api/schemas.ts'
import { printable } from '../base/errors.ts'
import { bytesText, countText, durationText } from '../base/quantities.ts'
import { hasEnded } from '../qrexec/calls/orders.ts'
import { CliError, ReportedError } from './errors.ts'
import { noProgress, progressDisplay } from './progress.ts'
import { jsonLine, type Session } from './session.ts'

const reconnectMilliseconds = 2_000
const reconnectsMax = 30

/**
 * Follows a job to its end and prints the result. A failed job is thrown as its own error, so that it has its exit
 * code. Ctrl-C stops the watching, not the job.
 */
export async function watchJob(session: Session, job: JobView): Promise<void> {
  const { io, json, quiet } = session
  const display = json || quiet ? noProgress : progressDisplay(io.stderr, io.clock)
  const interrupt = new AbortController()
  const forget = io.onInterrupt(() => interrupt.abort(detached(job)))
  try {
    const last = await follow(session, job, interrupt.signal, state => {
      if (json) io.stdout.write(jsonLine('event', { job: state }))
      display.show(state)
    })
    display.end()
    finish(session, last)
  } catch (error) {
    display.end()
    throw interrupt.signal.aborted ? interrupt.signal.reason : error
  } finally {
    forget()
  }
}

/** Reconnects where it was cut off, so that a restart of the service does not end the watching. */
async function follow(
  { api, io }: Session,
  first: JobView,
  signal: AbortSignal,
  show: (job: JobView) => void,
): Promise<JobView> {
  let last = first
  let seen: string | null = null
  for (let failures = 0; !hasEnded(last); failures++) {
    try {
      for await (const { id, job } of api.events(first.id, seen, signal)) {
        seen = id
        last = job
        failures = 0
        show(job)
      }
    } catch (error) {
      const passing = error instanceof CliError && error.retry
      if (!passing || failures >= reconnectsMax || signal.aborted) throw error
    }
    if (!hasEnded(last)) await io.clock.sleep(reconnectMilliseconds, signal)
  }
  return last
}

function finish(session: Session, job: JobView): void {
  session.result('job', { job }, job.state === 'done' ? `${summaryOf(job)}\n` : '')
  if (job.kind === 'restore' && job.state === 'done')
    session.note(`what was restored is in dom0, in restored/${job.id} of its own directory`)
  for (const warning of job.outcome?.warnings ?? []) session.note(`warning: ${printable(warning)}`)
  if (job.state === 'cancelled') throw new CliError('CLI_JOB_CANCELLED', `job ${job.id} was cancelled`)
  if (job.state === 'failed') throw new ReportedError(job.error ?? unexplained)
}

const unexplained = {
  code: 'INTERNAL',
  kind: 'failed',
  message: 'the job failed without saying why',
  hint: 'look into the log of dom0',
} as const

function detached(job: JobView): CliError {
  return new CliError('CLI_DETACHED', `no longer watching; job ${job.id} goes on`, {
    hint: `cancel it with: strongroom cancel ${job.id}`,
  })
}

/** One line of what a finished job did. */
export function summaryOf({ kind, profile, started, ended, outcome }: JobView): string {
  const parts = [`${kind} of ${profile} done`]
  if (outcome?.snapshot !== undefined) parts.push(`snapshot ${outcome.snapshot.slice(0, 12)}`)
  if (outcome?.volumes !== undefined) parts.push(countText(outcome.volumes, 'volume'))
  if (outcome?.drill !== undefined)
    parts.push(`proven: ${outcome.drill.levels.map(({ level }) => level).join(', ')}`)
  if (outcome?.prune !== undefined) parts.push(...pruneParts(outcome.prune, outcome))
  else {
    if (outcome?.snapshots !== undefined) parts.push(countText(outcome.snapshots, 'snapshot'))
    if (outcome?.objects !== undefined)
      parts.push(
        `${countText(outcome.objects, 'object')} ${kind === 'scrub' ? 'hashed by the storage' : 'proven'}`,
      )
    if (outcome?.bytes !== undefined) parts.push(`${bytesText(outcome.bytes)} read`)
    if (outcome?.bytesStored !== undefined) parts.push(`${bytesText(outcome.bytesStored)} stored`)
  }
  if (started !== null && ended !== null)
    parts.push(durationText(new Date(ended).getTime() - new Date(started).getTime()))
  return parts.join(', ')
}

type Outcome = NonNullable<JobView['outcome']>

function pruneParts(
  { dryRun, forgotten, packsRemoved, packsRewritten, bytesFreed }: NonNullable<Outcome['prune']>,
  { snapshots = 0, bytesStored = 0 }: Outcome,
): readonly string[] {
  return [
    ...(dryRun ? ['dry run, nothing was changed'] : []),
    `${countText(forgotten, 'snapshot')} ${dryRun ? 'to forget' : 'forgotten'}`,
    `${snapshots} stay`,
    `${countText(packsRemoved, 'pack')} ${dryRun ? 'to remove' : 'removed'}`,
    `${packsRewritten} of them ${dryRun ? 'to rewrite' : 'rewritten'}`,
    `${bytesText(bytesFreed)} ${dryRun ? 'to free' : 'freed'}`,
    `${bytesText(bytesStored)} ${dryRun ? 'to store' : 'stored'}`,
  ]
}
