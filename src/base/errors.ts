/**
 * What an error means to the one who sees it; one row gives the HTTP status and the exit code.
 * An unknown kind is a failure: nothing here defaults to success.
 */
export const errorKinds = {
  usage: { status: 400, exit: 2, meaning: 'the request itself is wrong' },
  refused: { status: 403, exit: 5, meaning: 'a rule, a policy or a person said no' },
  missing: { status: 404, exit: 10, meaning: 'there is no such thing' },
  conflict: { status: 409, exit: 11, meaning: 'something else is in the way; later it may work' },
  key: { status: 403, exit: 12, meaning: 'wrong passphrase, PIN or key' },
  unavailable: { status: 503, exit: 13, meaning: 'a VM, token or storage could not be reached' },
  full: { status: 507, exit: 14, meaning: 'no room, or the quota is used up' },
  timeout: { status: 504, exit: 15, meaning: 'no answer within the deadline' },
  integrity: { status: 500, exit: 4, meaning: 'something was changed, removed or rolled back: an alarm' },
  cancelled: { status: 409, exit: 130, meaning: 'stopped on request' },
  failed: { status: 500, exit: 1, meaning: 'anything else' },
} as const

export type ErrorKind = keyof typeof errorKinds

/** One row of a folder's catalogue. The reference page and the tests are made from these. */
export interface ErrorRow {
  readonly kind: ErrorKind
  readonly meaning: string
  readonly hint: string
}
export type ErrorCatalogue = Readonly<Record<string, ErrorRow>>

export interface ErrorOptions {
  readonly hint?: string
  readonly cause?: unknown
  /** true: the same call may succeed later without anyone changing anything. */
  readonly retry?: boolean
}

/**
 * Every error the product throws on purpose. `code` is from the closed union of one folder's catalogue; `message`
 * says what happened, what was found and what was expected; `hint` says what a person can do. Neither ever holds a
 * secret, nor text from elsewhere that was not passed through `printable`.
 */
export class CodedError<Code extends string = string> extends Error {
  readonly code: Code
  readonly kind: ErrorKind
  readonly hint: string
  readonly retry: boolean

  constructor(code: Code, row: ErrorRow, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.kind = row.kind
    this.hint = options.hint ?? row.hint
    this.retry = options.retry ?? false
  }
}

/**
 * Makes the error class of one folder from its catalogue:
 * `class StorageError extends errorClass(storageErrors) {}`, then `new StorageError('STORAGE_TAKEN', '…')`.
 */
export function errorClass<const Catalogue extends ErrorCatalogue>(catalogue: Catalogue) {
  type Code = keyof Catalogue & string
  return class extends CodedError<Code> {
    constructor(code: Code, message: string, options?: ErrorOptions) {
      super(code, catalogue[code] as ErrorRow, message, options)
    }
  }
}

/** The fields of an error that may cross to another VM or to a person. Unknown errors become `INTERNAL`. */
export interface ErrorReport {
  readonly code: string
  readonly kind: ErrorKind
  readonly message: string
  readonly hint: string
}

export function reportOf(error: unknown): ErrorReport {
  if (error instanceof CodedError)
    return {
      code: error.code,
      kind: error.kind,
      message: printable(error.message),
      hint: printable(error.hint),
    }
  // The cause stays in the log of the VM where it happened: a stack or a path is not for others.
  return {
    code: 'INTERNAL',
    kind: 'failed',
    message: 'an unexpected error; its cause is in the log of the VM where it happened',
    hint: 'look into that log, and report it',
  }
}

export function isErrorKind(text: string): text is ErrorKind {
  return Object.hasOwn(errorKinds, text)
}

/** Nothing was decided, so asking again decides nothing twice. */
export function isPassing({ kind }: Pick<ErrorReport, 'kind'>): boolean {
  return kind === 'unavailable' || kind === 'timeout'
}

const messageLengthMax = 2000

/** Text from elsewhere made fit for logs, messages and terminals: control and format characters become `?`. */
export function printable(untrustedText: string): string {
  return untrustedText
    .slice(0, messageLengthMax)
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]/gu, '?')
}

/** Node's errno of an error, or `undefined`. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
