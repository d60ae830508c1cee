import { CodedError, type ErrorKind, errorKinds, reportOf } from '../base/errors.ts'
import { ApiError } from './errors.ts'
import type { Problem } from './schemas.ts'

/** Statuses of HTTP's own that no kind of error has. */
const statusOfCode: Readonly<Record<string, number | undefined>> = {
  API_UNAUTHORIZED: 401,
  API_METHOD: 405,
  API_BODY_TOO_LARGE: 413,
  API_MEDIA_TYPE: 415,
}

/** RFC 9457. Below 500 the error speaks for itself; from 500 a fixed phrase stands for it, and the cause is for the log. */
export function problemOf(error: unknown): Problem {
  const { code, kind, message, hint } = reportOf(error)
  const status = statusOfCode[code] ?? errorKinds[kind].status
  const { meaning } = errorKinds[kind]
  return {
    type: `urn:strongroom:error:${code}`,
    title: meaning,
    status,
    detail: status < 500 ? message : phrases[kind],
    code,
    kind,
    hint,
  }
}

const phrases: Readonly<Record<ErrorKind, string>> = {
  usage: 'the request could not be served',
  refused: 'the request was refused',
  missing: 'there is no such thing',
  conflict: 'something else is in the way',
  key: 'a key or passphrase was refused',
  unavailable: 'a VM, token or storage could not be reached; the log of the management VM names the cause',
  full: 'no room is left; the log of the management VM names the place',
  timeout: 'no answer came in time; the log of the management VM names the call',
  integrity: 'something was changed, removed or rolled back; the log of the management VM names it',
  cancelled: 'stopped on request',
  failed: 'an unexpected error; its cause is in the log of the management VM',
}

interface FrameworkError {
  readonly code?: unknown
  readonly validation?: readonly {
    readonly instancePath?: string
    readonly message?: string
    readonly params?: unknown
  }[]
  readonly validationContext?: string
}

/** What fastify throws by itself, in the words of our own catalogue; everything else is left as it is. */
export function translate(error: unknown): unknown {
  if (error instanceof CodedError || !(error instanceof Error)) return error
  const { code, validation, validationContext } = error as FrameworkError
  if (validation !== undefined) {
    const faults = validation.map(fault => describe(validationContext ?? 'request', fault))
    return new ApiError('API_REQUEST_INVALID', faults.join('; '))
  }
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ApiError('API_BODY_TOO_LARGE', 'the body of the request is too large')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ApiError('API_MEDIA_TYPE', 'the body of the request is not application/json')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ApiError('API_REQUEST_INVALID', 'the request is malformed')
    default:
      return error
  }
}

function describe(
  context: string,
  { instancePath = '', message = 'is wrong', params }: NonNullable<FrameworkError['validation']>[number],
): string {
  const unknownField = (params as { additionalProperty?: unknown } | undefined)?.additionalProperty
  if (typeof unknownField === 'string') return `${context}: unknown field '${unknownField.slice(0, 80)}'`
  const allowed = (params as { allowedValues?: unknown } | undefined)?.allowedValues
  const values = Array.isArray(allowed) ? `: ${allowed.join(', ')}` : ''
  return `${context}${instancePath.replaceAll('/', '.')} ${message}${values}`
}
