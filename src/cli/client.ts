import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import type { JobView } from '../api/schemas.ts'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { fromUtf8, KiB, MiB, utf8 } from '../base/bytes.ts'
import { deadline } from '../base/environment.ts'
import { CodedError, errnoOf } from '../base/errors.ts'
import { parseJson } from '../base/json.ts'
import { readAll } from '../base/reader.ts'
import type { Secret } from '../base/secret.ts'
import type { Address } from './address.ts'
import { parseJobView, parseProblem } from './answers.ts'
import { CliError, ReportedError } from './errors.ts'
import { readEvents } from './event-stream.ts'

const answerBytesMax = 64 * MiB
const eventBytesMax = 128 * KiB
const answerMilliseconds: Milliseconds = 60_000
/** Three of the service's heartbeats. */
const silenceMilliseconds: Milliseconds = 45_000

export interface RequestOptions {
  readonly body?: unknown
  readonly headers?: OutgoingHttpHeaders
}

/** The API over TCP or a Unix socket. Throws what the API reports as `ReportedError`, and `CLI_*`. */
export class ApiClient {
  readonly #address: Address
  readonly #token: Secret

  constructor(address: Address, token: Secret) {
    this.#address = address
    this.#token = token
  }

  async request<T>(
    method: string,
    path: string,
    parse: (untrustedValue: unknown) => T,
    options: RequestOptions = {},
  ): Promise<T> {
    const timeout = () => new CliError('CLI_TIMEOUT', `no answer within ${answerMilliseconds / 1000} seconds`)
    const signal = deadline(answerMilliseconds, timeout)
    try {
      const response = await this.#send(method, path, options, signal)
      const body = await readAll(response, answerBytesMax)
      if (response.statusCode === 204) return parse(undefined)
      return body.parse(untrustedBytes => {
        const value = parseJson(untrustedBytes, { bytesMax: answerBytesMax })
        if (response.statusCode === undefined || response.statusCode >= 300) throw reported(value)
        return parse(value)
      })
    } catch (error) {
      throw signal.aborted ? signal.reason : explain(error)
    }
  }

  /** The states of a job after the one that `lastEventId` names. Ends early when the connection does. */
  async *events(
    job: string,
    lastEventId: string | null,
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly id: string; readonly job: JobView }> {
    const headers = lastEventId === null ? {} : { 'last-event-id': lastEventId }
    try {
      const response = await this.#send('GET', `/v1/jobs/${job}/events`, { headers }, signal)
      if (response.statusCode !== 200) {
        const body = await readAll(response, answerBytesMax)
        if (response.statusCode === 204) return
        throw body.parse(bytes => reported(parseJson(bytes, { bytesMax: answerBytesMax })))
      }
      response.setTimeout(silenceMilliseconds, () => response.destroy())
      for await (const { id, event, data } of readEvents(response, eventBytesMax))
        if (event === 'job')
          yield { id, job: parseJobView(parseJson(utf8(data), { bytesMax: eventBytesMax })) }
    } catch (error) {
      throw signal.aborted ? signal.reason : explain(error)
    }
  }

  #send(
    method: string,
    path: string,
    { body, headers = {} }: RequestOptions,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const { request } = this.#address.protocol === 'https:' ? https : http
    const content = body === undefined ? null : utf8(JSON.stringify(body))
    const all: OutgoingHttpHeaders = {
      ...headers,
      authorization: this.#token.expose(bytes => `Bearer ${fromUtf8(bytes)}`),
      accept: 'application/json, application/problem+json, text/event-stream',
      ...(content === null
        ? {}
        : { 'content-type': 'application/json', 'content-length': content.byteLength }),
    }
    return new Promise((resolve, reject) => {
      const outgoing = request({ ...this.#address, method, path, headers: all, signal, agent: false })
      outgoing.once('response', resolve)
      outgoing.once('error', reject)
      outgoing.end(content ?? undefined)
    })
  }
}

function reported(untrustedValue: unknown): ReportedError {
  const { code, kind, detail, hint } = parseProblem(untrustedValue)
  return new ReportedError({ code, kind, message: detail, hint })
}

function explain(error: unknown): unknown {
  if (error instanceof BaseError && error.kind === 'usage')
    return new CliError('CLI_ANSWER_INVALID', 'the answer is not one of this API', { cause: error })
  if (error instanceof CodedError) return error
  const errno = errnoOf(error)
  return new CliError(
    'CLI_UNREACHABLE',
    `the API cannot be reached${errno === undefined ? '' : ` (${errno})`}`,
    {
      cause: error,
      retry: true,
    },
  )
}
