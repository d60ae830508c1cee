import { CryptoError } from './errors.ts'

/*
 * The little of DER (X.690) that certificates and detached signatures need: definite lengths in their one encoding, tags
 * below 31, nothing that recurses by itself.
 */

export const derTag = {
  integer: 0x02,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
  /** `[0]`, constructed. */
  context0: 0xa0,
} as const

const lengthBytesMax = 3

/** One element; `parts` are its content. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  return new Uint8Array(Buffer.concat([Uint8Array.of(tag), lengthOf(content.byteLength), content]))
}

function lengthOf(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length)
  const bytes: number[] = []
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return Uint8Array.of(0x80 + bytes.length, ...bytes)
}

export interface DerElement {
  readonly tag: number
  readonly content: Uint8Array
  /** With its tag and its length. */
  readonly whole: Uint8Array
}

/** Reads elements one after another. Every fault throws `DER_MALFORMED`. */
export class DerReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(untrustedBytes: Uint8Array) {
    this.#bytes = untrustedBytes
  }

  /** The next element, whatever it is. */
  any(): DerElement {
    const start = this.#at
    const tag = this.#byte()
    if ((tag & 0x1f) === 0x1f) throw malformed(start, 'a tag of several bytes')
    const length = this.#length(start)
    if (length > this.#bytes.byteLength - this.#at) throw malformed(start, 'it ends too early')
    const content = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return { tag, content, whole: this.#bytes.subarray(start, this.#at) }
  }

  /** The next element, which must have this tag. */
  next(tag: number): DerElement {
    const start = this.#at
    const element = this.any()
    if (element.tag !== tag)
      throw malformed(start, `a tag ${element.tag.toString(16)}; expected ${tag.toString(16)}`)
    return element
  }

  /** A reader of what is inside the next element. */
  inside(tag: number): DerReader {
    return new DerReader(this.next(tag).content)
  }

  /** The tag of what comes next; `null` at the end. */
  peek(): number | null {
    return this.#bytes[this.#at] ?? null
  }

  end(): void {
    if (this.#at !== this.#bytes.byteLength) throw malformed(this.#at, 'more than expected')
  }

  #byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw malformed(this.#at, 'it ends too early')
    this.#at += 1
    return byte
  }

  #length(start: number): number {
    const first = this.#byte()
    if (first < 0x80) return first
    const count = first - 0x80
    if (count < 1 || count > lengthBytesMax)
      throw malformed(start, 'a length that is indefinite or is not read')
    let length = 0
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte()
    if (lengthOf(length).byteLength !== count + 1) throw malformed(start, 'a length in too many bytes')
    return length
  }
}

function malformed(position: number, found: string): CryptoError {
  return new CryptoError('DER_MALFORMED', `at byte ${position}: ${found}`)
}
