import type { KeyObject } from 'node:crypto'
import { toHex } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { OffsetCipher } from '../crypto/offset-cipher.ts'
import { BlobFilter } from './blob-filter.ts'
import { RecordView, recordBytes } from './blob-records.ts'
import type { BlobType } from './format.ts'
import type { IndexedPack } from './index.ts'
import {
  layoutOf,
  packEntry,
  packIdBytes,
  type SectionPlace,
  type TableCounts,
} from './index-table-format.ts'
import type { PackedBlob } from './pack.ts'
import { PageReader } from './page-reader.ts'
import { keyBytes, keyStartOf, keysPerPage, SortedKeys } from './sorted-keys.ts'

/** Neighbours in a volume are mostly neighbours in a pack: the next blob that is asked for is often in the same page. */
const recordsPerPage = 42
const packsPerPage = 42
/** Of each section: 4 MiB of records, 2 of keys. All of a repository of up to 40 GiB. */
const pagesKept = 2048

/** What another thread needs to look into an open table. Posting it copies neither the memory nor the key. */
export interface IndexTableShare {
  readonly fd: number
  readonly key: KeyObject
  readonly counts: TableCounts
  /** One word that is not 0 once the table is closed, and behind `residentAt` what is kept in memory. */
  readonly resident: SharedArrayBuffer
}
export const residentAt = 16

export interface BlobLocation {
  /** Number of the pack in the table, for `packId`. */
  readonly pack: number
  /** Of the sealed blob in its pack. */
  readonly offset: number
  /** Of the sealed blob. */
  readonly length: number
  /** Of the plaintext; 0 when the blob is stored as it is. */
  readonly uncompressedLength: number
}

export interface FoundBlob extends BlobLocation {
  /** Number of its record, the lowest of the blob's: 0 to `counts.records - 1`. */
  readonly record: number
}

export interface TablePack extends IndexedPack {
  readonly number: number
  /** Number of the record of the first of `blobs`; those of the others follow. They are in the order in which they lie. */
  readonly firstRecord: number
  /** Number of the index object that names it, in the order of the table. */
  readonly index: number
  /** A pack with a lower number has the same id: two indexes name it. */
  readonly repeats: boolean
}

/** Answers where blobs are, in the thread that made it. The table stays open for as long as anyone has one. */
export class IndexTableReader {
  readonly counts: TableCounts
  readonly #filter: BlobFilter
  readonly #records: PageReader
  readonly #packs: PageReader
  readonly #blobKeys: SortedKeys
  readonly #packKeys: SortedKeys

  constructor({ fd, key, counts, resident }: IndexTableShare) {
    const layout = layoutOf(counts)
    const file = { fd, cipher: new OffsetCipher(key), closed: new Int32Array(resident, 0, 1) }
    const pages = ({ offset, bytes }: SectionPlace, entryBytes: number, entriesPerPage: number) =>
      new PageReader(file, { offset, entries: bytes / entryBytes, entryBytes, entriesPerPage, pagesKept })
    const words = ({ offset, bytes }: SectionPlace) =>
      new Uint32Array(resident, residentAt + offset - layout.packSamples.offset, bytes / 4)
    this.counts = counts
    this.#filter = new BlobFilter(words(layout.filter))
    this.#records = pages(layout.records, recordBytes, recordsPerPage)
    this.#packs = pages(layout.packs, packEntry.bytes, packsPerPage)
    this.#blobKeys = new SortedKeys(pages(layout.blobKeys, keyBytes, keysPerPage), words(layout.blobSamples))
    this.#packKeys = new SortedKeys(pages(layout.packKeys, keyBytes, keysPerPage), words(layout.packSamples))
  }

  /** Of a blob in several packs the first. Most blobs that are not there are so without a read. */
  find(type: BlobType, id: Uint8Array): FoundBlob | null {
    const start = keyStartOf(id)
    if (!this.#filter.mayHave(start.high, start.low)) return null
    const record = this.#blobKeys.find(start, record => {
      const { bytes, first } = this.#records.pageOf(record)
      return new RecordView(bytes).isOf(record - first, type, id)
    })
    return record < 0 ? null : this.location(record)
  }

  location(record: number): FoundBlob {
    const { bytes, first } = this.#records.pageOf(record)
    const view = new RecordView(bytes)
    const at = record - first
    return {
      record,
      pack: view.pack(at),
      offset: view.offset(at),
      length: view.length(at),
      uncompressedLength: view.uncompressedLength(at),
    }
  }

  packId(pack: number): Digest {
    return parsePackEntry(this.#entryOf(pack)).id
  }

  /** The lowest number of a pack with this id, or -1. */
  findPack(id: Uint8Array): number {
    return this.#packKeys.find(
      keyStartOf(id),
      pack => Buffer.compare(this.#entryOf(pack).subarray(0, packIdBytes), id) === 0,
    )
  }

  pack(number: number): TablePack {
    const entry = parsePackEntry(this.#entryOf(number))
    const blobs = Array.from({ length: entry.count }, (_, at): PackedBlob => {
      const { bytes, first } = this.#records.pageOf(entry.firstRecord + at)
      return new RecordView(bytes).blob(entry.firstRecord + at - first)
    })
    return tablePack(number, entry, blobs)
  }

  #entryOf(pack: number): Buffer {
    const { bytes, first } = this.#packs.pageOf(pack)
    return bytes.subarray((pack - first) * packEntry.bytes, (pack - first + 1) * packEntry.bytes)
  }
}

export interface PackEntry {
  readonly id: Digest
  readonly firstRecord: number
  readonly count: number
  readonly index: number
  readonly repeats: boolean
}

export function parsePackEntry(entry: Buffer): PackEntry {
  return {
    id: toHex(entry.subarray(0, packIdBytes)) as Digest,
    firstRecord: entry.readUInt32LE(packEntry.first),
    count: entry.readUInt32LE(packEntry.count),
    index: entry.readUInt32LE(packEntry.index),
    repeats: entry.readUInt32LE(packEntry.repeats) !== 0,
  }
}

export function tablePack(number: number, entry: PackEntry, blobs: readonly PackedBlob[]): TablePack {
  const { id, firstRecord, index, repeats } = entry
  return { id, blobs, number, firstRecord, index, repeats }
}
