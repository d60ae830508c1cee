import { CodedError } from '../base/errors.ts'
import { fields } from '../base/json.ts'
import { RepositoryError } from './errors.ts'

type Shape = Parameters<typeof fields>[1]

/** As `fields`, but passes over fields it does not know: restic's format grows by new ones. */
export function knownFields<const S extends Shape>(what: string, shape: S) {
  const exactly = fields<S>(what, shape)
  return (untrustedValue: unknown) => {
    if (typeof untrustedValue !== 'object' || untrustedValue === null || Array.isArray(untrustedValue))
      return exactly(untrustedValue)
    return exactly(
      Object.fromEntries(Object.entries(untrustedValue).filter(([key]) => Object.hasOwn(shape, key))),
    )
  }
}

/** Runs a parser of something that opened with the right key: whatever it refuses is an alarm, not a wrong request. */
export function parseFormat<T>(what: string, parser: () => T): T {
  try {
    return parser()
  } catch (cause) {
    if (cause instanceof RepositoryError || !(cause instanceof CodedError)) throw cause
    throw new RepositoryError('REPOSITORY_FORMAT', `${what} is malformed: ${cause.message}`, { cause })
  }
}
