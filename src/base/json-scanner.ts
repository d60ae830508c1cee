import { isUtf8 } from 'node:buffer'
import { BaseError } from './base-errors.ts'
import { utf8 } from './bytes.ts'
import { printable } from './errors.ts'
import { type JsonLimits, parseJson } from './json.ts'

const mark = {
  quote: 0x22,
  comma: 0x2c,
  colon: 0x3a,
  zero: 0x30,
  nine: 0x39,
  backslash: 0x5c,
  arrayOpens: 0x5b,
  arrayCloses: 0x5d,
  objectOpens: 0x7b,
  objectCloses: 0x7d,
} as const
/** So many digits cannot leave the safe integers. */
const digitsSafe = 15

const nibbles = new Uint8Array(256).fill(0xff)
for (const [value, digit] of [...'0123456789abcdef'].entries()) nibbles[digit.charCodeAt(0)] = value

/** The names of an object's fields, or other words. `JsonScanner` speaks of them by number. At most 31. */
export class FieldNames {
  readonly #names: readonly { readonly text: string; readonly bytes: Uint8Array }[]
  readonly #required: number

  constructor(required: readonly string[], optional: readonly string[] = []) {
    this.#names = [...required, ...optional].map(text => ({ text, bytes: utf8(text) }))
    this.#required = (1 << required.length) - 1
  }

  /** The first required name that is not among those of the bits in `found`. */
  missing(found: number): string | undefined {
    const missing = this.#required & ~found
    return missing === 0 ? undefined : this.text(31 - Math.clz32(missing & -missing))
  }

  text(name: number): string {
    return this.#names[name]?.text ?? ''
  }

  /** Of the name that stands at `from` and has no escapes; -1: none of these. */
  find(bytes: Uint8Array, from: number, end: number): number {
    for (let name = 0; name < this.#names.length; name++)
      if (isAt(bytes, from, end, this.#names[name]?.bytes ?? bytes)) return name
    return -1
  }

  findText(text: string): number {
    return this.#names.findIndex(name => name.text === text)
  }
}

/**
 * Reads large JSON of a known shape value by value, without making an object of all of it: as strict as `parseJson` with `fields`,
 * and ten times faster. Every method reads one value, with the white space before it, and throws `JSON_INVALID` or `FIELD_INVALID`.
 * What is written in an unusual way (escapes, exponents, fields without a name) is handed to `parseJson`.
 */
export class JsonScanner {
  readonly #bytes: Uint8Array
  readonly #limits: JsonLimits
  #at = 0

  constructor(untrustedBytes: Uint8Array, limits: JsonLimits) {
    if (untrustedBytes.byteLength > limits.bytesMax)
      throw new BaseError(
        'JSON_INVALID',
        `JSON of ${untrustedBytes.byteLength} bytes; at most ${limits.bytesMax} are allowed`,
      )
    if (!isUtf8(untrustedBytes)) throw malformed()
    this.#bytes = untrustedBytes
    this.#limits = limits
  }

  /**
   * An object. `field` is called for each field that has a name and reads its value; other fields are passed over. Returns which
   * names were there, one bit each: all that are required.
   */
  object(names: FieldNames, field: (name: number) => void): number {
    let found = 0
    let others: Set<string> | null = null
    let more = this.#opens(mark.objectOpens, mark.objectCloses)
    while (more) {
      const key = this.#key(names)
      this.#expect(mark.colon)
      if (typeof key === 'number') {
        if ((found & (1 << key)) !== 0) throw duplicate(names.text(key))
        found |= 1 << key
        field(key)
      } else {
        others ??= new Set()
        if (others.has(key)) throw duplicate(key)
        others.add(key)
        this.any()
      }
      more = this.#goesOn(mark.objectCloses)
    }
    const missing = names.missing(found)
    if (missing !== undefined) throw new BaseError('FIELD_INVALID', `'${missing}' is missing`)
    return found
  }

  /** A list. `item` is called for each of at most `countMax` items and reads it. */
  array(item: () => void, countMax: number): void {
    let more = this.#opens(mark.arrayOpens, mark.arrayCloses)
    for (let count = 1; more; count++) {
      if (count > countMax) throw wrong(`a list of at most ${countMax}`)
      item()
      more = this.#goesOn(mark.arrayCloses)
    }
  }

  /** A whole number from 0 to `max`. */
  integer(max: number): number {
    this.#skipSpace()
    let value = 0
    let at = this.#at
    for (; this.#isDigit(at); at++) value = value * 10 + (this.#bytes[at] ?? 0) - mark.zero
    const digits = at - this.#at
    const plain = digits > 0 && digits <= digitsSafe && (digits === 1 || this.#bytes[this.#at] !== mark.zero)
    if (plain && this.#isEndOfValue(at)) this.#at = at
    else {
      const other = this.any()
      if (!Number.isSafeInteger(other)) throw wrong('a whole number')
      value = other as number
    }
    if (value < 0 || value > max) throw wrong(`a whole number from 0 to ${max}`)
    return value
  }

  /** A string of 2 × `length` lower-case hex digits, decoded to `into` at `offset`. */
  hex(into: Uint8Array, offset: number, length: number): void {
    this.#skipSpace()
    const from = this.#at + 1
    const end = from + 2 * length
    let wrongDigits = 0
    for (let at = 0; at < length; at++) {
      const high = nibbles[this.#bytes[from + 2 * at] ?? 0] ?? 0xff
      const low = nibbles[this.#bytes[from + 2 * at + 1] ?? 0] ?? 0xff
      wrongDigits |= high | low
      into[offset + at] = (high << 4) | low
    }
    if (wrongDigits <= 0x0f && this.#bytes[from - 1] === mark.quote && this.#bytes[end] === mark.quote) {
      this.#at = end + 1
      return
    }
    // Perhaps with escapes.
    const text = this.any()
    if (typeof text !== 'string' || text.length !== 2 * length || !/^[0-9a-f]*$/.test(text))
      throw wrong(`${2 * length} lower-case hex digits`)
    into.set(Buffer.from(text, 'hex'), offset)
  }

  /** One of the names as a string; its number. */
  oneOf(names: FieldNames): number {
    this.#skipSpace()
    const name = this.#bytes[this.#at] === mark.quote ? this.#key(names) : this.any()
    if (typeof name === 'number') return name
    throw wrong('one of a few words')
  }

  /** Any value, as `parseJson` has it. */
  any(): unknown {
    this.#skipSpace()
    const end = this.#endOfValue()
    const value = parseJson(this.#bytes.subarray(this.#at, end), this.#limits)
    this.#at = end
    return value
  }

  /** Nothing may follow. */
  end(): void {
    this.#skipSpace()
    if (this.#at < this.#bytes.byteLength) throw malformed()
  }

  /** The number of a name, or the text of a key that is none. */
  #key(names: FieldNames): number | string {
    this.#skipSpace()
    if (this.#bytes[this.#at] !== mark.quote) throw malformed()
    const from = this.#at + 1
    const end = this.#endOfString() - 1
    const found = names.find(this.#bytes, from, end)
    if (found >= 0) {
      this.#at = end + 1
      return found
    }
    const text = this.any() as string
    const escaped = names.findText(text)
    return escaped >= 0 ? escaped : text
  }

  /** `false` when it closes at once. */
  #opens(opens: number, closes: number): boolean {
    this.#skipSpace()
    if (this.#bytes[this.#at] !== opens) throw wrong(opens === mark.objectOpens ? 'an object' : 'a list')
    this.#at += 1
    this.#skipSpace()
    if (this.#bytes[this.#at] !== closes) return true
    this.#at += 1
    return false
  }

  #goesOn(closes: number): boolean {
    this.#skipSpace()
    const found = this.#bytes[this.#at]
    if (found !== mark.comma && found !== closes) throw malformed()
    this.#at += 1
    return found === mark.comma
  }

  #expect(one: number): void {
    this.#skipSpace()
    if (this.#bytes[this.#at] !== one) throw malformed()
    this.#at += 1
  }

  #skipSpace(): void {
    while (isSpace(this.#bytes[this.#at])) this.#at += 1
  }

  /** Where the value at the present place may end; whether it is a value is for `parseJson` to say. */
  #endOfValue(): number {
    const first = this.#bytes[this.#at]
    if (first === mark.quote) return this.#endOfString()
    let at = this.#at
    if (first !== mark.objectOpens && first !== mark.arrayOpens) {
      while (!this.#isEndOfValue(at)) at += 1
      return at
    }
    let depth = 0
    do {
      const byte = this.#bytes[at]
      if (byte === undefined) throw malformed()
      if (byte === mark.quote) at = this.#endOfString(at)
      else {
        if (byte === mark.objectOpens || byte === mark.arrayOpens) depth += 1
        if (byte === mark.objectCloses || byte === mark.arrayCloses) depth -= 1
        at += 1
      }
    } while (depth > 0)
    return at
  }

  /** Behind the closing quote of the string that opens at `from`. */
  #endOfString(from = this.#at): number {
    for (let at = from + 1; ; at++) {
      const byte = this.#bytes[at]
      if (byte === mark.quote) return at + 1
      if (byte === undefined) throw malformed()
      if (byte === mark.backslash) at += 1
    }
  }

  #isDigit(at: number): boolean {
    const byte = this.#bytes[at] ?? 0
    return byte >= mark.zero && byte <= mark.nine
  }

  #isEndOfValue(at: number): boolean {
    const byte = this.#bytes[at]
    return (
      byte === undefined ||
      byte === mark.comma ||
      byte === mark.objectCloses ||
      byte === mark.arrayCloses ||
      isSpace(byte)
    )
  }
}

function isAt(bytes: Uint8Array, from: number, end: number, name: Uint8Array): boolean {
  if (name.byteLength !== end - from) return false
  for (let at = 0; at < name.byteLength; at++) if (bytes[from + at] !== name[at]) return false
  return true
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

function malformed(): BaseError {
  return new BaseError('JSON_INVALID', 'malformed JSON')
}

function wrong(expected: string): BaseError {
  return new BaseError('FIELD_INVALID', `expected ${expected}`)
}

function duplicate(key: string): BaseError {
  return new BaseError('JSON_INVALID', `duplicate key '${printable(key)}'`)
}
