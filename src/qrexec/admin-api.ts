import { fromUtf8, utf8 } from '../base/bytes.ts'
import { CodedError, type ErrorKind, type ErrorReport, isErrorKind, printable } from '../base/errors.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { QrexecError } from './errors.ts'

/*
 * The answer of a call in the Qubes Admin API's form (qubes-doc developer/services/admin-api.rst, qubes/api/__init__.py):
 *   OK         30 00 content
 *   EVENT      31 00 SUBJECT 00 EVENT 00 (KEY 00 VALUE 00)* 00
 *   EXCEPTION  32 00 TYPE 00 TRACEBACK 00 FORMAT 00 (FIELD 00)*
 * Our own exceptions have the error's code as TYPE and two fields, kind and hint. The traceback is always empty.
 */

const exceptionFieldsMax = 16
/** Code, message and hint in UTF-8, with room for a debugging qubesd's traceback. */
export const exceptionBytesMax = 64 * 1024

export const okPrefix: Uint8Array = utf8('0\0')

export interface AdminEvent {
  /** A VM's name, or empty for the whole system. */
  readonly subject: string
  readonly event: string
  readonly values: Readonly<Record<string, string>>
}

/** What the far side said instead of an answer: its code, kind and hint, as `ErrorReport` carried them. */
export class RemoteError extends CodedError {
  constructor(report: ErrorReport) {
    super(report.code, { kind: report.kind, meaning: '', hint: report.hint }, report.message)
  }
}

export function encodeOk(content: Uint8Array): Uint8Array {
  const answer = new Uint8Array(okPrefix.byteLength + content.byteLength)
  answer.set(okPrefix)
  answer.set(content, okPrefix.byteLength)
  return answer
}

export function encodeEvent({ subject, event, values }: AdminEvent): Uint8Array {
  const pairs = Object.entries(values).flat()
  return utf8(['1', subject, event, ...pairs, '', ''].map(printable).join('\0'))
}

/**
 * One of our errors. Stock clients apply Python's `%` with the fields to FORMAT, and fail if one is left over: `%.0s`
 * takes a field and prints nothing.
 */
export function encodeException({ code, kind, message, hint }: ErrorReport): Uint8Array {
  return exception(code, `${doublePercent(message)}%.0s%.0s`, [kind, hint])
}

/** Names of qubesd's exception classes that `qvm-backup` tells apart. */
export type StockExceptionType =
  | 'QubesBackupProfileNotFoundError'
  | 'BackupAlreadyRunningError'
  | 'BackupCancelledError'
  | 'ProtocolError'
  | 'PermissionDenied'
  | 'QubesException'

/** As qubesd itself answers `admin.backup.*`: a class name, a message, no fields. */
export function encodeStockException(type: StockExceptionType, message: string): Uint8Array {
  return exception(type, doublePercent(message), [])
}

/** qubesd's class for an error of `admin.backup.*`. */
export function stockExceptionType(kind: ErrorKind): StockExceptionType {
  switch (kind) {
    case 'missing':
      return 'QubesBackupProfileNotFoundError'
    case 'conflict':
      return 'BackupAlreadyRunningError'
    case 'cancelled':
      return 'BackupCancelledError'
    case 'usage':
      return 'ProtocolError'
    case 'refused':
      return 'PermissionDenied'
    default:
      return 'QubesException'
  }
}

/**
 * The content of an OK, or throws the `RemoteError` of an EXCEPTION, ours or qubesd's. An empty answer (qubesd's sign
 * of a refusal or a crash) and anything else throws `QREXEC_ANSWER_INVALID`. The content is a view of the same memory.
 */
export function parseAnswer(answer: Untrusted<Uint8Array>): Uint8Array {
  return answer.parse(untrustedBytes => {
    if (untrustedBytes.byteLength === 0) throw invalid('the answer is empty')
    if (untrustedBytes[1] === 0) {
      if (untrustedBytes[0] === 0x30) return untrustedBytes.subarray(2)
      if (untrustedBytes[0] === 0x32) throw new RemoteError(parseException(untrustedBytes.subarray(2)))
    }
    throw invalid('the answer is neither OK nor EXCEPTION')
  })
}

/** One whole event message. */
export function parseEvent(message: Untrusted<Uint8Array>): AdminEvent {
  return message.parse(untrustedBytes => {
    const [kind, subject, event, ...rest] = text(untrustedBytes).split('\0')
    if (kind !== '1' || subject === undefined || event === undefined || event === '')
      throw invalid('the message is no event')
    // What follows is pairs, the empty key that ends them, and what split makes of the last NUL.
    if (rest.length % 2 !== 0 || rest.at(-1) !== '' || rest.at(-2) !== '')
      throw invalid('the event is cut off')
    const values: Record<string, string> = Object.create(null)
    for (let at = 0; at < rest.length - 2; at += 2) {
      const [key = '', value = ''] = rest.slice(at, at + 2)
      if (key === '' || Object.hasOwn(values, key)) throw invalid('an event with an empty or repeated key')
      values[key] = value
    }
    return { subject, event, values }
  })
}

function exception(type: string, format: string, fields: readonly string[]): Uint8Array {
  return utf8(`${['2', type, '', format, ...fields].map(printable).join('\0')}\0`)
}

function parseException(untrustedBytes: Uint8Array): ErrorReport {
  if (untrustedBytes.byteLength > exceptionBytesMax) throw invalid('an exception that is too long')
  const parts = text(untrustedBytes).split('\0')
  const [type, traceback, format, ...fields] = parts
  if (type === undefined || traceback === undefined || format === undefined || fields.pop() !== '')
    throw invalid('the exception is cut off')
  if (!/^[A-Za-z][A-Za-z0-9_]{0,63}$/.test(type)) throw invalid('an exception without a type')
  if (fields.length > exceptionFieldsMax) throw invalid('an exception with too many fields')
  const message = printable(applyFormat(format, fields))
  const stockKind = kindsOfStockTypes[type]
  if (stockKind !== undefined) return { code: type, kind: stockKind, message, hint: stockHint }
  const [kind = '', hint] = fields
  return {
    code: type,
    kind: isErrorKind(kind) ? kind : 'failed',
    message,
    hint: hint === undefined || hint === '' ? stockHint : printable(hint),
  }
}

const stockHint = 'look into the log of the VM at the other end'

const kindsOfStockTypes: Readonly<Record<string, ErrorKind | undefined>> = Object.assign(
  Object.create(null),
  {
    ProtocolError: 'usage',
    PermissionDenied: 'refused',
    QubesBackupProfileNotFoundError: 'missing',
    QubesVMNotFoundError: 'missing',
    BackupAlreadyRunningError: 'conflict',
    BackupCancelledError: 'cancelled',
    QubesVMNotHaltedError: 'conflict',
    QubesVMNotRunningError: 'unavailable',
    QubesException: 'failed',
  },
)

/** The part of Python's `%` that qubesd uses: `%s`, `%d`, `%r`, `%%`, and our `%.0s`. */
function applyFormat(format: string, fields: readonly string[]): string {
  let next = 0
  return format.replace(/%(%|s|d|r|\.0s)/g, (_, what: string) => {
    if (what === '%') return '%'
    const field = fields[next++] ?? '?'
    return what === '.0s' ? '' : field
  })
}

function doublePercent(message: string): string {
  return message.replaceAll('%', '%%')
}

function text(untrustedBytes: Uint8Array): string {
  try {
    return fromUtf8(untrustedBytes)
  } catch (cause) {
    throw new QrexecError('QREXEC_ANSWER_INVALID', 'the answer is not UTF-8', { cause })
  }
}

function invalid(what: string): QrexecError {
  return new QrexecError('QREXEC_ANSWER_INVALID', what)
}
