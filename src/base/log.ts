import { systemClock } from './environment.ts'
import { CodedError, printable } from './errors.ts'
import { Secret } from './secret.ts'
import { Untrusted } from './untrusted.ts'

export type LogLevel = 'info' | 'warn' | 'error'
export type LogFields = Readonly<Record<string, unknown>>

/** One JSON object a line. Values are flattened, bounded and made printable, so no line can be forged from outside. */
export interface Log {
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
}

const valueLengthMax = 500
const depthMax = 3

export function createLog(
  component: string,
  write: (line: string) => void = line => process.stderr.write(line),
): Log {
  const emit =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      const flat: Record<string, unknown> = {
        time: systemClock.now().toISOString(),
        level,
        component,
        message: printable(message),
      }
      for (const [key, value] of Object.entries(fields))
        if (!(key in flat)) flat[printable(key)] = flatten(value, depthMax)
      write(`${JSON.stringify(flat)}\n`)
    }
  return { info: emit('info'), warn: emit('warn'), error: emit('error') }
}

function flatten(value: unknown, depth: number): unknown {
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value
  if (typeof value === 'string') return printable(value).slice(0, valueLengthMax)
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Secret) return '[secret]'
  if (value instanceof Untrusted) return '[untrusted]'
  // Bytes are never printed: whoever wants a digest in the log passes its hex.
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return '[bytes]'
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Error) {
    const text = printable(value.message).slice(0, valueLengthMax)
    const cause = value.cause === undefined || depth === 0 ? {} : { cause: flatten(value.cause, depth - 1) }
    return value instanceof CodedError
      ? { code: value.code, text, ...cause }
      : { name: value.name, text, at: frames(value), ...cause }
  }
  if (depth === 0) return '[deep]'
  if (Array.isArray(value)) return value.slice(0, 20).map(item => flatten(item, depth - 1))
  if (typeof value === 'object')
    return Object.fromEntries(
      Object.entries(value)
        .slice(0, 20)
        .map(([key, item]) => [printable(key), flatten(item, depth - 1)]),
    )
  return String(typeof value)
}

function frames(error: Error): string {
  return printable((error.stack ?? '').split('\n').slice(1, 4).join(' <- ')).slice(0, valueLengthMax)
}

export const silentLog: Log = { info() {}, warn() {}, error() {} }
