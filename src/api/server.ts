import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { type FastifyReply, fastify } from 'fastify'
import { KiB } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { parseJson } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import type { TokenCheck } from './auth.ts'
import { ApiError } from './errors.ts'
import { problemOf, translate } from './problem.ts'

const bodyBytesMax = 16 * KiB
const requestMilliseconds = 30_000
const parameterLengthMax = 100
const jsonDepthMax = 8

/** What route files register on. */
export type Routes = ReturnType<typeof createServer>

/** A server that speaks as every route of this API must, and has no route yet. */
export function createServer(log: Log) {
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

/** On every path, known or not. */
export function requireToken(app: Routes, token: TokenCheck): void {
  app.addHook('onRequest', async (request, reply) => {
    if (token.accepts(request.headers.authorization)) return
    reply.header('www-authenticate', 'Bearer realm="strongroom"')
    throw new ApiError('API_UNAUTHORIZED', 'a bearer token is needed, and this is not it')
  })
}

/** Our own reader in place of fastify's: duplicate keys and deep nesting are refused, and so is every other type. */
export function readStrictJson(app: Routes): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    async (_request: unknown, body: Buffer) =>
      parseJson(body, { bytesMax: bodyBytesMax, depthMax: jsonDepthMax }),
  )
}

export function answerProblems(app: Routes, log: Log): void {
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

/** 404, or 405 where another method would have found something. To be called before the routes are registered. */
export function answerUnknown(app: Routes): void {
  const methodsOf = rememberMethods(app)
  app.setNotFoundHandler((request, reply) => {
    const allowed = methodsOf(request.url)
    if (allowed.length === 0) throw new ApiError('API_NOT_FOUND', 'there is nothing at this path')
    reply.header('allow', allowed.join(', '))
    throw new ApiError('API_METHOD', `this path takes ${allowed.join(', ')}`)
  })
}

/** The methods of a path that was registered after this call, for 405 and Allow (RFC 9110, section 15.5.6). */
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
