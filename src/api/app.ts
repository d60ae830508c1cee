import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import type { ApiPorts, RouteContext } from './context.ts'
import { JobFeeds } from './job-feeds.ts'
import { JobHistory } from './job-history.ts'
import { attestationRoutes } from './routes/attestation.ts'
import { healthRoutes } from './routes/health.ts'
import { jobRoutes } from './routes/jobs.ts'
import { ledgerRoutes } from './routes/ledger.ts'
import { orderRoutes } from './routes/orders.ts'
import { profileRoutes } from './routes/profiles.ts'
import { scheduleRoutes } from './routes/schedules.ts'
import { statusRoutes } from './routes/status.ts'
import { JobSchema, ProblemSchema, ScheduleSchema, SnapshotSchema } from './schemas.ts'
import {
  answerProblems,
  answerUnknown,
  createServer,
  type Routes,
  readStrictJson,
  requireToken,
} from './server.ts'

/**
 * The management VM's HTTP API. It has never opened a socket: `listen` is the caller's, `inject` is the tests'.
 * Every path, known or not, wants the token.
 */
export async function buildApi(ports: ApiPorts): Promise<FastifyInstance> {
  const closing = new AbortController()
  const history = new JobHistory(ports.dom0, ports.catalogue)
  const context: RouteContext = {
    ...ports,
    history,
    feeds: new JobFeeds(ports.dom0, history),
    closing: closing.signal,
  }
  const app = createServer(ports.log)
  app.addHook('preClose', async () => closing.abort())
  requireToken(app, ports.token)
  readStrictJson(app)
  answerProblems(app, ports.log)
  answerUnknown(app)
  await describeApi(app)
  for (const schema of [ProblemSchema, JobSchema, SnapshotSchema, ScheduleSchema]) app.addSchema(schema)
  for (const routes of allRoutes) routes(app, context)
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  await app.ready()
  return app as unknown as FastifyInstance
}

const allRoutes = [
  healthRoutes,
  statusRoutes,
  profileRoutes,
  orderRoutes,
  jobRoutes,
  scheduleRoutes,
  ledgerRoutes,
  attestationRoutes,
]

async function describeApi(app: Routes): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Strongroom',
        version: '1',
        description:
          'Orders and watches backups. Names go in, states come out: neither contents nor keys ever pass through.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, index) => String(schema.$id ?? `def-${index}`),
    },
  })
}
