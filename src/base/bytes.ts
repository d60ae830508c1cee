import { timingSafeEqual } from 'node:crypto'
import { BaseError } from './base-errors.ts'

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB

/** The only comparison of tags, MACs, tokens and digests of secrets. Lengths are not secret. */
export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}

export function toHex(bytes: Uint8Array): string {
  return view(bytes).toString('hex')
}

/** Lower-case hex of exactly `length` bytes. */
export function fromHex(untrustedText: string, length: number): Uint8Array {
  if (untrustedText.length !== 2 * length || !/^[0-9a-f]*$/.test(untrustedText))
    throw new BaseError('BYTES_INVALID', `expected ${length} bytes in lower-case hex`)
  return new Uint8Array(Buffer.from(untrustedText, 'hex'))
}

export function toBase64(bytes: Uint8Array): string {
  return view(bytes).toString('base64')
}

/** Canonical padded base64; anything that does not encode back to itself is refused. */
export function fromBase64(untrustedText: string): Uint8Array {
  const bytes = Buffer.from(untrustedText, 'base64')
  if (bytes.toString('base64') !== untrustedText)
    throw new BaseError('BYTES_INVALID', 'expected canonical base64')
  return new Uint8Array(bytes)
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function fromUtf8(untrustedBytes: Uint8Array): string {
  try {
    return strictDecoder.decode(untrustedBytes)
  } catch (cause) {
    throw new BaseError('BYTES_INVALID', 'expected valid UTF-8', { cause })
  }
}

/** The same memory as a Buffer, for Node's APIs; no copy. */
export function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
