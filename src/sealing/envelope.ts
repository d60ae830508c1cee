import { fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import type { Digest } from '../base/names.ts'
import { verifySignature } from '../crypto/signature.ts'
import { hasLowerS } from './ecdsa.ts'
import { SealError } from './errors.ts'
import { type PublicKey, shortId } from './keys.ts'

/*
 * DSSE v1 envelopes, https://github.com/secure-systems-lab/dsse (envelope.md, protocol.md, v1.0.2): a signature over
 * the exact payload bytes with their type and length in front. Nothing inside is parsed before it has been verified.
 *
 * Any DSSE tool reads these envelopes. Of the ways to write one down in JSON only `encodeEnvelope`'s is accepted, and
 * every signature in it must verify: no byte of a stored file can change unnoticed, whitespace included. It also
 * means that no JSON parser meets unverified bytes.
 */

export const envelopeBytesMax = 16 * 1024 * 1024
/** A root may need all keys of two roots, of 64 each. */
const signaturesMax = 128
const payloadTypeLengthMax = 100
const signatureTextLengthMax = 200

export interface EnvelopeSignature {
  readonly keyId: Digest
  readonly signature: Uint8Array
}

export interface Envelope {
  readonly payloadType: string
  readonly payload: Uint8Array
  readonly signatures: readonly EnvelopeSignature[]
}

/** What a role demands of an envelope. `what` names the file in errors. */
export interface Expectation {
  readonly what: string
  readonly payloadType: string
  readonly keys: readonly PublicKey[]
  readonly threshold: number
}

/** PAE of protocol.md: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`, lengths in bytes, in ASCII decimal. */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8(payloadType)
  const header = utf8(`DSSEv1 ${type.byteLength} ${payloadType} ${payload.byteLength} `)
  const encoding = new Uint8Array(header.byteLength + payload.byteLength)
  encoding.set(header)
  encoding.set(payload, header.byteLength)
  return encoding
}

/** One line of JSON and a line end; the digest of a sealed file is over exactly these bytes. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const { payloadType, payload, signatures } = envelope
  const list = signatures.map(({ keyId, signature }) => `{"keyid":"${keyId}","sig":"${toBase64(signature)}"}`)
  const text = `{"payloadType":"${payloadType}","payload":"${toBase64(payload)}","signatures":[${list.join(',')}]}\n`
  return utf8(text)
}

/** Throws `SEAL_TOO_LARGE`, `SEAL_ENVELOPE_MALFORMED`. What it returns is not verified yet. */
export function parseEnvelope(untrustedBytes: Uint8Array, what: string): Envelope {
  requireSize(untrustedBytes, what)
  // latin1 maps every byte to one character, so nothing is replaced or merged on the way.
  const scanner = new Scanner(Buffer.from(untrustedBytes).toString('latin1'), what)
  scanner.literal('{"payloadType":"')
  const payloadType = scanner.untilQuote(payloadTypeLengthMax, /^[a-z0-9.+/-]+$/)
  scanner.literal(',"payload":"')
  const payload = scanner.base64(envelopeBytesMax)
  scanner.literal(',"signatures":[')
  const signatures: EnvelopeSignature[] = []
  // An envelope that nobody has signed yet is one: a proposal. No threshold is zero.
  while (!scanner.optional(']')) {
    if (signatures.length === signaturesMax) throw malformed(what, `more than ${signaturesMax} signatures`)
    if (signatures.length > 0) scanner.literal(',')
    scanner.literal('{"keyid":"')
    const keyId = scanner.untilQuote(64, /^[0-9a-f]{64}$/) as Digest
    scanner.literal(',"sig":"')
    signatures.push({ keyId, signature: scanner.base64(signatureTextLengthMax) })
    scanner.literal('}')
  }
  scanner.literal('}\n')
  scanner.end()
  return { payloadType, payload, signatures }
}

/**
 * The payload of an envelope that `threshold` different keys signed, in this order: size, signatures over the bytes,
 * threshold, type. Every signature present must be by one of `keys` and must verify.
 */
export function verifyEnvelope(untrustedBytes: Uint8Array, expected: Expectation): Uint8Array {
  const envelope = parseEnvelope(untrustedBytes, expected.what)
  requireKnownSigners(envelope, expected)
  requireThreshold(envelope, expected)
  requireType(envelope, expected)
  return envelope.payload
}

/** Refuses a signature by a key that is not among `keys`. */
export function requireKnownSigners(envelope: Envelope, { what, keys }: Expectation): void {
  for (const { keyId } of envelope.signatures)
    if (!keys.some(key => key.id === keyId))
      throw new SealError(
        'SEAL_KEY_UNKNOWN',
        `${what}: signed by key ${shortId(keyId)}…, which the root does not give this role`,
      )
}

/** Counts different key material among `keys`; signatures by other keys are left to `requireKnownSigners`. */
export function requireThreshold(envelope: Envelope, { what, keys, threshold }: Expectation): void {
  const signed = preAuthEncoding(envelope.payloadType, envelope.payload)
  const material = new Set<string>()
  for (const { keyId, signature } of envelope.signatures) {
    const key = keys.find(one => one.id === keyId)
    if (key === undefined) continue
    if (!isCanonical(key, signature) || !verifySignature(key.handle, signed, signature))
      throw new SealError(
        'SEAL_SIGNATURE_INVALID',
        `${what}: the signature of key ${shortId(keyId)}… does not fit the content`,
      )
    const bytes = toBase64(key.bytes)
    if (material.has(bytes))
      throw new SealError('SEAL_SIGNED_TWICE', `${what}: key ${shortId(keyId)}… signed twice`)
    material.add(bytes)
  }
  if (material.size < threshold)
    throw new SealError('SEAL_THRESHOLD', `${what}: ${material.size} of the ${threshold} signatures needed`)
}

export function requireType(envelope: Envelope, { what, payloadType }: Expectation): void {
  if (envelope.payloadType !== payloadType)
    throw new SealError(
      'SEAL_TYPE_WRONG',
      `${what}: found payload type ${printable(envelope.payloadType)}, expected ${payloadType}`,
    )
}

function isCanonical(key: PublicKey, signature: Uint8Array): boolean {
  return key.type === 'ed25519' || hasLowerS(signature)
}

function requireSize(untrustedBytes: Uint8Array, what: string): void {
  if (untrustedBytes.byteLength > envelopeBytesMax)
    throw new SealError(
      'SEAL_TOO_LARGE',
      `${what}: ${untrustedBytes.byteLength} bytes; at most ${envelopeBytesMax} are read`,
    )
}

function malformed(what: string, found: string, cause?: unknown): SealError {
  return new SealError('SEAL_ENVELOPE_MALFORMED', `${what}: not an envelope: ${found}`, { cause })
}

/** Reads the one accepted form from left to right. */
class Scanner {
  readonly #text: string
  readonly #what: string
  #at = 0

  constructor(text: string, what: string) {
    this.#text = text
    this.#what = what
  }

  optional(literal: string): boolean {
    if (!this.#text.startsWith(literal, this.#at)) return false
    this.#at += literal.length
    return true
  }

  literal(literal: string): void {
    if (!this.optional(literal)) {
      const found = printable(this.#text.slice(this.#at, this.#at + literal.length))
      throw malformed(this.#what, `'${found}' at byte ${this.#at}; expected '${printable(literal)}'`)
    }
  }

  untilQuote(lengthMax: number, pattern?: RegExp): string {
    const end = this.#text.indexOf('"', this.#at)
    if (end < 0 || end - this.#at > lengthMax)
      throw malformed(this.#what, `no end of the text within ${lengthMax} bytes of byte ${this.#at}`)
    const text = this.#text.slice(this.#at, end)
    if (pattern !== undefined && !pattern.test(text))
      throw malformed(this.#what, `'${printable(text)}' at byte ${this.#at}`)
    this.#at = end + 1
    return text
  }

  base64(lengthMax: number): Uint8Array {
    const start = this.#at
    const text = this.untilQuote(lengthMax)
    try {
      return fromBase64(text)
    } catch (cause) {
      if (!(cause instanceof CodedError)) throw cause
      throw malformed(this.#what, `no canonical base64 at byte ${start}`, cause)
    }
  }

  end(): void {
    if (this.#at !== this.#text.length)
      throw malformed(this.#what, `bytes after its end, at byte ${this.#at}`)
  }
}
