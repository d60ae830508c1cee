import type { JobView } from '../../api/schemas.ts'
import { printable } from '../../base/errors.ts'
import { parseJobId } from '../../base/names.ts'
import { bytesText } from '../../base/quantities.ts'
import { hasEnded } from '../../qrexec/calls/orders.ts'
import { parseJobsView, parseJobView } from '../answers.ts'
import { CliError } from '../errors.ts'
import { phaseText } from '../progress.ts'
import { table, timeText } from '../render.ts'
import { summaryOf, watchJob } from '../watch.ts'
import { type AddCommand, act, describe } from './command.ts'

interface JobsOptions {
  readonly profile?: string
  readonly count: string
}

export const addJobs: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'jobs [job]',
    summary: 'list jobs, newest first, or follow one to its end',
    examples: [
      'strongroom jobs --profile nightly',
      'strongroom jobs 20261124T031500Z-1f2e3d4c',
      'strongroom jobs --json',
    ],
  })
    .option('--profile <name>', 'only jobs of this profile')
    .option('--count <n>', 'how many at most', parseCount, '20')
    .action(
      act<JobsOptions>(io, async (session, { profile, count }, [id]) => {
        if (id !== undefined) {
          const job = await session.api.request('GET', `/v1/jobs/${parseJobId(id)}`, parseJobView)
          return watchJob(session, job)
        }
        const query = new URLSearchParams({ ...(profile ? { profile } : {}), count })
        const { jobs, stale } = await session.api.request('GET', `/v1/jobs?${query}`, parseJobsView)
        if (stale) session.note('dom0 does not answer: this is what was last seen')
        session.result('jobs', { jobs, stale }, table(head, jobs.map(row)))
      }),
    )
  parent.addCommand(command)
}

function parseCount(text: string): string {
  if (/^[1-9]\d{0,3}$/.test(text)) return text
  throw new CliError('CLI_USAGE', `--count ${printable(text).slice(0, 40)}: expected 1 to 9999`)
}

const head = ['JOB', 'PROFILE', 'KIND', 'STATE', 'ORDERED', 'RESULT']

function row(job: JobView): readonly string[] {
  return [job.id, job.profile, job.kind, job.state, timeText(job.ordered), resultOf(job)]
}

function resultOf(job: JobView): string {
  if (job.error !== null) return job.error.code
  const { bytesDone, bytesTotal } = job.progress
  if (!hasEnded(job))
    return `${phaseText(job)}${bytesTotal === 0 ? '' : `, ${bytesText(bytesDone)} of ${bytesText(bytesTotal)}`}`
  return summaryOf(job).split(', ').slice(1).join(', ')
}
