import { BaseError } from '../base/base-errors.ts'
import { view } from '../base/bytes.ts'
import { StorageError } from './errors.ts'
import { objectBytesMax } from './object-store.ts'

/*
 * The frames of a storage connection. All numbers are big-endian.
 *
 *   request   u8 operation | u32 id | u8 name length | u32 payload length | name | payload
 *   response  u32 id | u8 status | u32 payload length | payload
 *
 * The client chooses the id, which is in use from its request to its response. Many requests may be under way, and
 * answers come in any order. Each length is compared with its limit before anything of that length is read or reserved.
 */

export const operations = { put: 1, get: 2, head: 3, list: 4, remove: 5, more: 6, cancel: 7 } as const
export type Operation = keyof typeof operations

export const statuses = { done: 0, body: 1, size: 2, absent: 3, items: 4, lastItems: 5, error: 6 } as const
export type Status = keyof typeof statuses

/** Requests under way on one connection, and the bytes of bodies held for them. Both ends keep to this. */
export const requestsMax = 64
export const heldBytesMax = 64 * 1024 * 1024

/** `data/` and 64 digits. */
const nameBytesMax = 80
export const requestHeaderLength = 10
export const responseHeaderLength = 9

/** Items of a list in one response: at most 500 of at most 1 + 80 + 8 bytes. */
export const itemsCountMax = 500
export const itemsBytesMax = itemsCountMax * (1 + nameBytesMax + 8)
export const errorBytesMax = 4096
export const rangeLength = 12
export const numberLength = 8

const payloadBytesMaxOf: Readonly<Record<Operation, number>> = {
  put: objectBytesMax,
  get: rangeLength,
  head: 0,
  list: 0,
  remove: numberLength,
  more: 0,
  cancel: 0,
}
const answerBytesMaxOf: Readonly<Record<Status, number>> = {
  done: 0,
  body: objectBytesMax,
  size: numberLength,
  absent: 0,
  items: itemsBytesMax,
  lastItems: itemsBytesMax,
  error: errorBytesMax,
}

export interface RequestHeader {
  readonly operation: Operation
  readonly id: number
  readonly nameLength: number
  readonly payloadLength: number
}

export interface ResponseHeader {
  readonly id: number
  readonly status: Status
  readonly payloadLength: number
}

/** Header and name; the payload is written after it, uncopied. */
export function encodeRequest(
  operation: Operation,
  id: number,
  name: string,
  payloadLength: number,
): Uint8Array {
  const head = Buffer.allocUnsafe(requestHeaderLength + name.length)
  head.writeUInt8(operations[operation], 0)
  head.writeUInt32BE(id, 1)
  head.writeUInt8(name.length, 5)
  head.writeUInt32BE(payloadLength, 6)
  head.write(name, requestHeaderLength, 'latin1')
  return head
}

export function parseRequestHeader(untrustedBytes: Uint8Array): RequestHeader {
  const bytes = view(untrustedBytes)
  const operation = keyOf(operations, bytes.readUInt8(0), 'operation')
  const nameLength = bytes.readUInt8(5)
  const payloadLength = bytes.readUInt32BE(6)
  if (nameLength > nameBytesMax)
    throw broken(`a name of ${nameLength} bytes; at most ${nameBytesMax} are allowed`)
  refuseLonger(payloadLength, payloadBytesMaxOf[operation], operation)
  return { operation, id: bytes.readUInt32BE(1), nameLength, payloadLength }
}

export function encodeResponseHeader({ id, status, payloadLength }: ResponseHeader): Uint8Array {
  const head = Buffer.allocUnsafe(responseHeaderLength)
  head.writeUInt32BE(id, 0)
  head.writeUInt8(statuses[status], 4)
  head.writeUInt32BE(payloadLength, 5)
  return head
}

export function parseResponseHeader(untrustedBytes: Uint8Array): ResponseHeader {
  const bytes = view(untrustedBytes)
  const status = keyOf(statuses, bytes.readUInt8(4), 'status')
  const payloadLength = bytes.readUInt32BE(5)
  refuseLonger(payloadLength, answerBytesMaxOf[status], status)
  return { id: bytes.readUInt32BE(0), status, payloadLength }
}

export function broken(what: string): StorageError {
  return new StorageError('STORAGE_PROTOCOL', `malformed frame: ${what}`)
}

/** Every fault of a frame is one of the protocol, whichever parser found it. */
export function asProtocolFault<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof BaseError) throw broken(error.message)
    throw error
  }
}

function keyOf<Key extends string>(table: Readonly<Record<Key, number>>, value: number, what: string): Key {
  const key = (Object.keys(table) as Key[]).find(one => table[one] === value)
  if (key === undefined) throw broken(`unknown ${what} ${value}`)
  return key
}

function refuseLonger(length: number, bytesMax: number, what: string): void {
  if (length > bytesMax) throw broken(`'${what}' with ${length} bytes; at most ${bytesMax} are allowed`)
}
