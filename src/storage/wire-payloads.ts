import { utf8, view } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { StorageError, type StorageErrorCode, storageErrors } from './errors.ts'
import {
  type ByteRange,
  type ObjectHead,
  type ObjectKind,
  type ObjectName,
  objectKinds,
  parseObjectName,
} from './object-store.ts'
import { asProtocolFault, broken, errorBytesMax, numberLength, rangeLength } from './wire.ts'

/* What the frames of a storage connection carry. */

/** Length of a range that stands for the whole object. */
const wholeLength = 0xffffffff

export function asObjectName(untrustedBytes: Uint8Array): ObjectName {
  return asProtocolFault(() => parseObjectName(view(untrustedBytes).toString('latin1')))
}

export function parseKind(untrustedText: string): ObjectKind {
  const kind = objectKinds.find(one => one === untrustedText)
  if (kind === undefined) throw broken(`no kind of object: '${printable(untrustedText)}'`)
  return kind
}

export function encodeRange(range: ByteRange | 'whole'): Uint8Array {
  const bytes = Buffer.alloc(rangeLength)
  bytes.writeBigUInt64BE(range === 'whole' ? 0n : BigInt(range.offset), 0)
  bytes.writeUInt32BE(range === 'whole' ? wholeLength : range.length, 8)
  return bytes
}

export function parseRange(untrustedBytes: Uint8Array): ByteRange | 'whole' {
  const bytes = exactly(untrustedBytes, rangeLength, 'range')
  const length = bytes.readUInt32BE(8)
  return length === wholeLength ? 'whole' : { offset: safe(bytes.readBigUInt64BE(0)), length }
}

/** A size, or the index of a ledger entry. */
export function encodeNumber(value: number): Uint8Array {
  const bytes = Buffer.alloc(numberLength)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

export function parseNumber(untrustedBytes: Uint8Array): number {
  return safe(exactly(untrustedBytes, numberLength, 'number').readBigUInt64BE(0))
}

/** Each item: u8 name length | name | u64 size. */
export function encodeItems(items: readonly ObjectHead[]): Uint8Array {
  const parts: Uint8Array[] = []
  for (const { name, bytes } of items)
    parts.push(Buffer.of(name.length), Buffer.from(name, 'latin1'), encodeNumber(bytes))
  return Buffer.concat(parts)
}

export function parseItems(untrustedBytes: Uint8Array, kind: ObjectKind): readonly ObjectHead[] {
  const bytes = view(untrustedBytes)
  const items: ObjectHead[] = []
  for (let at = 0; at < bytes.byteLength; ) {
    const sizeAt = at + 1 + bytes.readUInt8(at)
    if (sizeAt + numberLength > bytes.byteLength) throw broken('an item of a list is cut off')
    const name = parseObjectName(bytes.toString('latin1', at + 1, sizeAt))
    if (name !== kind && !name.startsWith(`${kind}/`)) throw broken(`'${name}' in the list of '${kind}'`)
    items.push({ name, bytes: parseNumber(bytes.subarray(sizeAt, sizeAt + numberLength)) })
    at = sizeAt + numberLength
  }
  return items
}

/** Errors cross by code. What is not a storage error stays here, in the log, and becomes `STORAGE_IO`. */
export function encodeError(error: unknown): Uint8Array {
  return utf8(JSON.stringify(errorReport(error)))
}

export function errorReport(error: unknown): ReturnType<typeof parseReport> {
  if (error instanceof CodedError && isStorageCode(error.code))
    return { code: error.code, message: printable(error.message).slice(0, 1000), retry: error.retry }
  return {
    code: 'STORAGE_IO',
    message: 'an unexpected error; the log of the storage VM has its cause',
    retry: false,
  }
}

const parseReport = fields('error', { code: is.string(64), message: is.string(1000), retry: is.boolean })

export function parseError(untrustedBytes: Uint8Array): StorageError {
  return parseErrorReport(parseJson(untrustedBytes, { bytesMax: errorBytesMax }))
}

export function parseErrorReport(untrustedReport: unknown): StorageError {
  const { code, message, retry } = parseReport(untrustedReport)
  if (!isStorageCode(code)) throw broken(`unknown error code '${printable(code)}'`)
  return new StorageError(code, printable(message), { retry })
}

function isStorageCode(code: string): code is StorageErrorCode {
  return Object.hasOwn(storageErrors, code)
}

function exactly(untrustedBytes: Uint8Array, length: number, what: string): Buffer {
  if (untrustedBytes.byteLength !== length)
    throw broken(`a ${what} of ${untrustedBytes.byteLength} bytes instead of ${length}`)
  return view(untrustedBytes)
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(`the number ${value} is too large`)
  return Number(value)
}
