import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { type FastifyInstance, type FastifyReply, fastify } from 'fastify'
import { KiB } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { parseJson } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import type { ApiPorts, RouteContext } from './context.ts'
import { ApiError } from './errors.ts'
import { JobHistory } from './job-history.ts'
import { problemOf, translate } from './problem.ts'
import { healthRoutes } from './routes/health.ts'
import { jobRoutes } from './routes/jobs.ts'
import { ledgerRoutes } from './routes/ledger.ts'
import { orderRoutes } from './routes/orders.ts'
import { profileRoutes } from './routes/profiles.ts'
import { scheduleRoutes } from './routes/schedules.ts'
import { statusRoutes } from './routes/status.ts'
import { JobSchema, ProblemSchema, ScheduleSchema } from './schemas.ts'

const bodyBytesMax = 16 * KiB
const requestMilliseconds = 30_000
const parameterLengthMax = 100
const jsonDepthMax = 8

/** What route files register on. */
export type Routes = ReturnType<typeof createServer>

/**
 * The management VM's HTTP API. It has never opened a socket: `listen` is the caller's, `inject` is the tests'.
 * Every path, known or not, wants the token.
 */
export async function buildApi(ports: ApiPorts): Promise<FastifyInstance> {
  const closing = new AbortController()
  const context: RouteContext = {
    ...ports,
    history: new JobHistory(ports.dom0, ports.catalogue),
    closing: closing.signal,
  }
  const app = createServer(ports.log)
  app.addHook('preClose', async () => closing.abort())
  requireToken(app, ports)
  readStrictJson(app)
  answerProblems(app, ports.log)
  const methodsOf = rememberMethods(app)
  app.setNotFoundHandler((request, reply) => {
    const allowed = methodsOf(request.url)
    if (allowed.length === 0) throw new ApiError('API_NOT_FOUND', 'there is nothing at this path')
    reply.header('allow', allowed.join(', '))
    throw new ApiError('API_METHOD', `this path takes ${allowed.join(', ')}`)
  })
  await describeApi(app)
  for (const schema of [ProblemSchema, JobSchema, ScheduleSchema]) app.addSchema(schema)
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
]

function createServer(log: Log) {
  return fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: requestMilliseconds,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: parameterLengthMax },
    frameworkErrors: (error, _request, reply) => sendProblem(reply as unknown as FastifyReply, error, log),
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true } },
  }).withTypeProvider<TypeBoxTypeProvider>()
}

function requireToken(app: Routes, { token }: ApiPorts): void {
  app.addHook('onRequest', async (request, reply) => {
    if (token.accepts(request.headers.authorization)) return
    reply.header('www-authenticate', 'Bearer realm="strongroom"')
    throw new ApiError('API_UNAUTHORIZED', 'a bearer token is needed, and this is not it')
  })
}

/** Our own reader in place of fastify's: duplicate keys and deep nesting are refused, and so is every other type. */
function readStrictJson(app: Routes): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (_request: unknown, body: Buffer) =>
      parseJson(body, { bytesMax: bodyBytesMax, depthMax: jsonDepthMax }),
  )
}

function answerProblems(app: Routes, log: Log): void {
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    reply.header('x-content-type-options', 'nosniff')
  })
  app.setErrorHandler((error, _request, reply) => sendProblem(reply, error, log))
}

function sendProblem(reply: FastifyReply, thrown: unknown, log: Log): void {
  const error = translate(thrown)
  const problem = problemOf(error)
  if (problem.status >= 500 || !(error instanceof CodedError))
    log.error('a request failed', { method: reply.request.method, path: reply.request.url, error })
  reply
    .code(problem.status)
    .type('application/problem+json; charset=utf-8')
    .serializer((value: unknown) => JSON.stringify(value))
    .send(problem)
}

/** The methods of a path, for 405 and its Allow header (RFC 9110, section 15.5.6). */
function rememberMethods(app: Routes): (url: string) => readonly string[] {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    const pattern = new RegExp(`^${url.replaceAll('.', '\\.').replace(/:\w+/g, '[^/]+')}$`)
    const row = known.get(url) ?? { pattern, methods: new Set() }
    for (const one of [method].flat()) row.methods.add(one)
    known.set(url, row)
  })
  return url => {
    const [path = ''] = url.split('?')
    return [...known.values()].filter(row => row.pattern.test(path)).flatMap(row => [...row.methods].sort())
  }
}

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
