import { BaseError } from './base-errors.ts'
import { fromUtf8 } from './bytes.ts'
import { printable } from './errors.ts'

export interface JsonLimits {
  readonly bytesMax: number
  readonly depthMax?: number
}

const depthMaxDefault = 32

/**
 * Strict JSON: valid UTF-8, bounded, no duplicate keys (of which JSON.parse silently keeps the last), no trailing
 * bytes. Returns `unknown`; a shape parser (`fields`) comes next.
 */
export function parseJson(untrustedBytes: Uint8Array, limits: JsonLimits): unknown {
  if (untrustedBytes.byteLength > limits.bytesMax)
    throw new BaseError(
      'JSON_INVALID',
      `JSON of ${untrustedBytes.byteLength} bytes; at most ${limits.bytesMax} are allowed`,
    )
  const untrustedText = fromUtf8(untrustedBytes)
  refuseDuplicateKeys(untrustedText, limits.depthMax ?? depthMaxDefault)
  try {
    return JSON.parse(untrustedText)
  } catch (cause) {
    throw new BaseError('JSON_INVALID', 'malformed JSON', { cause })
  }
}

/** One pass over the tokens; grammar faults are left to JSON.parse, which follows. */
function refuseDuplicateKeys(text: string, depthMax: number): void {
  const scopes: (Set<string> | null)[] = []
  let candidate: string | null = null
  const token = /["{}[\]:,]/g
  for (let found = token.exec(text); found !== null; found = token.exec(text)) {
    const [mark] = found
    if (mark === '"') {
      const end = endOfString(text, token.lastIndex)
      candidate = text.slice(found.index, end)
      token.lastIndex = end
    } else if (mark === '{' || mark === '[') {
      scopes.push(mark === '{' ? new Set() : null)
      if (scopes.length > depthMax) throw new BaseError('JSON_INVALID', `JSON nested deeper than ${depthMax}`)
    } else if (mark === '}' || mark === ']') scopes.pop()
    else if (mark === ':' && candidate !== null) {
      const keys = scopes.at(-1)
      const key = unescapeKey(candidate)
      if (keys?.has(key)) throw new BaseError('JSON_INVALID', `duplicate key '${printable(key)}'`)
      keys?.add(key)
      candidate = null
    }
  }
}

/** Behind the closing quote of the string whose content begins at `from`; the end of the text if there is none. */
function endOfString(text: string, from: number): number {
  const special = /["\\]/g
  special.lastIndex = from
  for (let found = special.exec(text); found !== null; found = special.exec(text)) {
    if (found[0] === '"') return special.lastIndex
    special.lastIndex += 1
  }
  return text.length
}

function unescapeKey(token: string): string {
  try {
    return JSON.parse(token) as string
  } catch {
    return token
  }
}

type Shape = Readonly<Record<string, (untrustedValue: unknown) => unknown>>
type Shaped<S extends Shape> = { readonly [K in keyof S]: ReturnType<S[K]> }

/**
 * An object with exactly the named fields. A field whose parser is wrapped in `optional` may be absent (then
 * `undefined`). All faulty fields are named at once.
 */
export function fields<const S extends Shape>(
  what: string,
  shape: S,
): (untrustedValue: unknown) => Shaped<S> {
  return untrustedValue => {
    if (typeof untrustedValue !== 'object' || untrustedValue === null || Array.isArray(untrustedValue))
      throw new BaseError('FIELD_INVALID', `${what}: expected an object`)
    const faults: string[] = []
    for (const key of Object.keys(untrustedValue))
      if (!Object.hasOwn(shape, key)) faults.push(`unknown field '${printable(key)}'`)
    const result: Record<string, unknown> = {}
    for (const [key, parser] of Object.entries(shape)) {
      const value = Object.hasOwn(untrustedValue, key)
        ? (untrustedValue as Record<string, unknown>)[key]
        : undefined
      try {
        result[key] = parser(value)
      } catch (error) {
        faults.push(
          `'${key}' ${value === undefined ? 'is missing' : error instanceof Error ? error.message : 'is wrong'}`,
        )
      }
    }
    if (faults.length > 0) throw new BaseError('FIELD_INVALID', `${what}: ${faults.join('; ')}`)
    return result as Shaped<S>
  }
}

function wrong(expected: string): BaseError {
  return new BaseError('FIELD_INVALID', `expected ${expected}`)
}

export const is = {
  string:
    (lengthMax = 1024) =>
    (value: unknown): string => {
      if (typeof value !== 'string' || value.length > lengthMax)
        throw wrong(`a string of at most ${lengthMax} characters`)
      return value
    },
  /** A string passed through a parser of names.ts or the like. */
  name:
    <T>(parser: (untrustedText: string) => T) =>
    (value: unknown): T => {
      if (typeof value !== 'string') throw wrong('a string')
      return parser(value)
    },
  integer:
    (min = 0, max = Number.MAX_SAFE_INTEGER) =>
    (value: unknown): number => {
      if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max)
        throw wrong(`a whole number from ${min} to ${max}`)
      return value as number
    },
  boolean: (value: unknown): boolean => {
    if (typeof value !== 'boolean') throw wrong('true or false')
    return value
  },
  literal:
    <const T extends string | number | boolean | null>(...allowed: readonly T[]) =>
    (value: unknown): T => {
      if (!allowed.includes(value as T)) throw wrong(allowed.map(one => JSON.stringify(one)).join(' or '))
      return value as T
    },
  /** RFC 3339 UTC with seconds or milliseconds, as `Date.toISOString` writes it. */
  time: (value: unknown): Date => {
    if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(value))
      throw wrong('a time like 2026-11-24T03:15:00Z')
    const time = new Date(value)
    if (Number.isNaN(time.getTime())) throw wrong('a time that exists')
    return time
  },
  array:
    <T>(item: (value: unknown) => T, countMax: number) =>
    (value: unknown): readonly T[] => {
      if (!Array.isArray(value) || value.length > countMax) throw wrong(`a list of at most ${countMax}`)
      return value.map((one, index) => {
        try {
          return item(one)
        } catch (error) {
          throw wrong(`item ${index}: ${error instanceof Error ? error.message : 'wrong'}`)
        }
      })
    },
  optional:
    <T>(parser: (value: unknown) => T) =>
    (value: unknown): T | undefined =>
      value === undefined ? undefined : parser(value),
  nullable:
    <T>(parser: (value: unknown) => T) =>
    (value: unknown): T | null =>
      value === null ? null : parser(value),
  record:
    <T>(parser: (value: unknown) => T, key: (untrustedKey: string) => string, countMax: number) =>
    (value: unknown): Readonly<Record<string, T>> => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('an object')
      const entries = Object.entries(value)
      if (entries.length > countMax) throw wrong(`at most ${countMax} entries`)
      const result: Record<string, T> = Object.create(null)
      for (const [one, item] of entries) result[key(one)] = parser(item)
      return result
    },
}
