import { Readable } from 'node:stream'
import { Type } from 'typebox'
import { errorKinds, reportOf } from '../../base/errors.ts'
import { type JobId, parseJobId, parseProfileName } from '../../base/names.ts'
import { hasEnded, type Job } from '../../qrexec/calls/orders.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import { eventId, jobEventText } from '../job-events.ts'
import { JobIdText, JobsSchema, ProfileNameText } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { jobView } from '../views.ts'
import { answers } from './answers.ts'
import { requireOffered } from './offered.ts'

const jobsShownDefault = 50
const jobsShownMax = 1_000
const eventStreamsMax = 64

const OneJob = Type.Object({ id: JobIdText }, { additionalProperties: false })
const JobsQuery = Type.Object(
  {
    profile: Type.Optional(ProfileNameText),
    count: Type.Optional(
      Type.String({ pattern: '^[1-9][0-9]{0,3}$', description: 'at most 1000; 50 when absent' }),
    ),
  },
  { additionalProperties: false },
)

export function jobRoutes(app: Routes, context: RouteContext): void {
  const { dom0, catalogue, history, log, closing } = context

  app.get(
    '/v1/jobs',
    {
      schema: {
        summary: 'Jobs, newest first: those of dom0 and what is remembered of older ones',
        querystring: JobsQuery,
        response: answers({ 200: JobsSchema }),
      },
    },
    async request => {
      const { count } = request.query
      const profile =
        request.query.profile === undefined ? undefined : parseProfileName(request.query.profile)
      const stale = !(await tryRefresh(context))
      const jobs = await catalogue.jobs.list({
        ...(profile === undefined ? {} : { profile }),
        countMax: Math.min(Number(count ?? jobsShownDefault), jobsShownMax),
      })
      // A profile that is sealed no more keeps the jobs it had.
      if (profile !== undefined && jobs.length === 0 && !stale) await requireOffered(context, profile)
      return { jobs: jobs.map(jobView), stale }
    },
  )

  app.get(
    '/v1/jobs/:id',
    { schema: { summary: 'One job', params: OneJob, response: answers({ 200: Type.Ref('Job') }) } },
    async request => jobView(await findJob(context, parseJobId(request.params.id))),
  )

  app.post(
    '/v1/jobs/:id/cancel',
    {
      schema: {
        summary: 'Cancel a job; nothing half-visible is left',
        params: OneJob,
        response: answers({ 200: Type.Ref('Job') }),
      },
    },
    async request => {
      const job = await history.record(await dom0.cancel(parseJobId(request.params.id), closing))
      log.info('a job was cancelled', { job: job.id })
      return jobView(job)
    },
  )

  app.get(
    '/v1/jobs/:id/report',
    {
      schema: {
        summary: 'The signed report of a restore drill: a DSSE envelope around an in-toto statement',
        params: OneJob,
        response: answers({
          200: Type.Object({ envelope: Type.String({ description: 'JSON text, as it was signed' }) }),
        }),
      },
    },
    async request => dom0.drillReport(parseJobId(request.params.id), closing),
  )

  eventRoute(app, context)
}

function eventRoute(app: Routes, context: RouteContext): void {
  const { closing, feeds, log, history } = context
  let streams = 0
  app.get(
    '/v1/jobs/:id/events',
    {
      schema: {
        summary: 'Every change of a job until it ends, as server-sent events',
        description: 'With Last-Event-ID the state that was seen is not sent again.',
        params: OneJob,
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 64 })) }),
        response: answers({
          200: {
            description: 'events named `job`, each with a Job as its data, and comments that break a silence',
            content: { 'text/event-stream': { schema: Type.String() } },
          },
          204: Type.Null({ description: 'the state that Last-Event-ID names was the final one' }),
        }),
      },
    },
    async (request, reply) => {
      const lastEventId = request.headers['last-event-id']
      const job = await findJob(context, parseJobId(request.params.id))
      if (hasEnded(job) && eventId(job) === lastEventId) return reply.code(204).send(null)
      if (streams >= eventStreamsMax)
        throw new ApiError('API_STREAMS_BUSY', `${eventStreamsMax} event streams are open`)
      const changes = hasEnded(job) ? null : feeds.subscribe(job.profile)
      const gone = new AbortController()
      streams++
      reply.raw.once('close', () => {
        streams--
        gone.abort()
        changes?.[Symbol.dispose]()
      })
      const ports = { history, changes, clock: context.environment.clock }
      const signal = AbortSignal.any([gone.signal, closing])
      const text = untilGone(jobEventText(ports, job, lastEventId, signal), signal, error =>
        log.warn('an event stream ended early', { job: job.id, error }),
      )
      reply.header('content-type', 'text/event-stream; charset=utf-8').header('x-accel-buffering', 'no')
      return reply.send(Readable.from(text))
    },
  )
}

/** A stream that has begun can only end: whoever listens comes again and asks. */
async function* untilGone(
  text: AsyncIterable<string>,
  signal: AbortSignal,
  report: (error: unknown) => void,
): AsyncGenerator<string> {
  try {
    yield* text
  } catch (error) {
    if (!signal.aborted) report(error)
  }
}

async function findJob(context: RouteContext, id: JobId): Promise<Job> {
  const remembered = await context.catalogue.jobs.get(id)
  if (remembered !== null && hasEnded(remembered)) return remembered
  const job = (await context.history.refresh(context.closing)).find(one => one.id === id)
  if (job === undefined) throw new ApiError('API_JOB_NOT_FOUND', `there is no job '${id}'`)
  return job
}

/** False when dom0 did not answer; what else goes wrong is thrown. */
async function tryRefresh({ history, log, closing }: RouteContext): Promise<boolean> {
  try {
    await history.refresh(closing)
    return true
  } catch (error) {
    if (errorKinds[reportOf(error).kind].status < 502) throw error
    log.warn('dom0 could not be asked for its jobs', { error })
    return false
  }
}
