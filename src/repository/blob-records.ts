import { toHex, view } from '../base/bytes.ts'
import { type BlobType, blobIdLength } from './format.ts'
import type { PackedBlob } from './pack.ts'

/*
 * Blobs as bytes, where there are millions of them: id (32), number of the pack and type, offset, length, uncompressed length,
 * each of these u32le. The lowest bit of the number of the pack is 1 for a tree.
 */

export const recordBytes = 48
const packAt = blobIdLength
const offsetAt = packAt + 4
const lengthAt = packAt + 8
const uncompressedAt = packAt + 12

const recordsAtFirst = 1024

/** A list of records, whose memory can be used again. */
export class BlobRecords {
  #bytes = Buffer.alloc(recordsAtFirst * recordBytes)
  #count = 0

  get count(): number {
    return this.#count
  }

  clear(): void {
    this.#count = 0
  }

  /** A view that is good until the next `push`. */
  bytes(first = 0, count = this.#count): Uint8Array {
    return this.#bytes.subarray(first * recordBytes, (first + count) * recordBytes)
  }

  push(
    id: Uint8Array,
    pack: number,
    type: BlobType,
    offset: number,
    length: number,
    uncompressedLength: number,
  ): void {
    const at = this.#count * recordBytes
    if (at === this.#bytes.byteLength) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(at)])
    this.#bytes.set(id, at)
    this.#bytes.writeUInt32LE(pack * 2 + (type === 'tree' ? 1 : 0), at + packAt)
    this.#bytes.writeUInt32LE(offset, at + offsetAt)
    this.#bytes.writeUInt32LE(length, at + lengthAt)
    this.#bytes.writeUInt32LE(uncompressedLength, at + uncompressedAt)
    this.#count += 1
  }
}

/** Reads single fields of the records in `bytes`, of which the first has the number 0. */
export class RecordView {
  readonly #bytes: Buffer

  constructor(bytes: Uint8Array) {
    this.#bytes = view(bytes)
  }

  get count(): number {
    return this.#bytes.byteLength / recordBytes
  }

  /** All of one, as a view. */
  bytes(record: number): Uint8Array {
    return this.#bytes.subarray(record * recordBytes, (record + 1) * recordBytes)
  }

  isOf(record: number, type: BlobType, id: Uint8Array): boolean {
    const at = record * recordBytes
    return this.type(record) === type && this.#bytes.compare(id, 0, blobIdLength, at, at + blobIdLength) === 0
  }

  /** A view. */
  id(record: number): Uint8Array {
    return this.#bytes.subarray(record * recordBytes, record * recordBytes + blobIdLength)
  }

  type(record: number): BlobType {
    return (this.#word(record, packAt) & 1) === 1 ? 'tree' : 'data'
  }

  pack(record: number): number {
    return this.#word(record, packAt) >>> 1
  }

  offset(record: number): number {
    return this.#word(record, offsetAt)
  }

  length(record: number): number {
    return this.#word(record, lengthAt)
  }

  uncompressedLength(record: number): number {
    return this.#word(record, uncompressedAt)
  }

  /** Equal for records of the same blob. */
  identity(record: number): string {
    return `${this.type(record)} ${toHex(this.id(record))}`
  }

  /** Views, in order. */
  *ids(): Generator<Uint8Array> {
    for (let record = 0; record < this.count; record++) yield this.id(record)
  }

  blobs(): readonly PackedBlob[] {
    return Array.from({ length: this.count }, (_, record) => this.blob(record))
  }

  blob(record: number): PackedBlob {
    return {
      type: this.type(record),
      id: toHex(this.id(record)),
      offset: this.offset(record),
      length: this.length(record),
      uncompressedLength: this.uncompressedLength(record),
    }
  }

  #word(record: number, at: number): number {
    return this.#bytes.readUInt32LE(record * recordBytes + at)
  }
}

/** Gives all `records` the number of their pack, and brings them in the order in which they lie in it. */
export function placeRecords(records: Uint8Array, pack: number): void {
  const bytes = view(records)
  sortByOffset(bytes)
  for (let at = packAt; at < bytes.byteLength; at += recordBytes)
    bytes.writeUInt32LE(pack * 2 + ((bytes[at] ?? 0) & 1), at)
}

/** They mostly are in order. */
function sortByOffset(bytes: Buffer): void {
  const records = new RecordView(bytes)
  let record = 1
  while (record < records.count && records.offset(record) >= records.offset(record - 1)) record += 1
  if (record >= records.count) return
  const before = new RecordView(Uint8Array.from(bytes))
  const order = Array.from({ length: before.count }, (_, record) => record)
  order.sort((a, b) => before.offset(a) - before.offset(b))
  for (const [to, from] of order.entries()) bytes.set(before.bytes(from), to * recordBytes)
}
