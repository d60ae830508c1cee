import type { FileHandle } from 'node:fs/promises'
import { toHex } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { release } from '../base/memory.ts'
import type { Digest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { Sha256 } from '../crypto/digest.ts'
import { RecordView, recordBytes } from './blob-records.ts'
import { EncryptedFile, fileStep, openForReading, readExactly, type StoredSection } from './encrypted-file.ts'
import { RepositoryError } from './errors.ts'
import {
  indexIdBytes,
  layoutOf,
  openTrailer,
  packEntry,
  sealedTrailerBytes,
  type TableCounts,
  type TableLayout,
  type Trailer,
} from './index-table-format.ts'
import {
  IndexTableReader,
  type IndexTableShare,
  parsePackEntry,
  residentAt,
  type TablePack,
  tablePack,
} from './index-table-reader.ts'

const partBytes = 1024 * 1024
const packsAtOnce = 1024
const recordsAtOnce = 8192

/**
 * All blobs of a set of index objects, in a file of which little is in memory: 14 bits a blob. `IndexTableWriter` makes it. What a
 * table says is as good as the index objects were: it opens only if it was sealed with the repository's key and is as it was sealed.
 */
export class IndexTable implements AsyncDisposable {
  readonly file: EncryptedFile
  readonly counts: TableCounts
  readonly layout: TableLayout
  /** The index objects that the table has, in the order in which they were added. */
  readonly indexes: readonly Digest[]
  /** For this thread. */
  readonly reader: IndexTableReader
  readonly #share: IndexTableShare

  private constructor(
    file: EncryptedFile,
    counts: TableCounts,
    indexes: readonly Digest[],
    resident: SharedArrayBuffer,
  ) {
    this.file = file
    this.counts = counts
    this.layout = layoutOf(counts)
    this.indexes = indexes
    this.#share = { fd: file.handle.fd, key: file.cipher.key, counts, resident }
    this.reader = new IndexTableReader(this.#share)
  }

  /**
   * Reads all of the file once, to compare it with what was sealed. `null` when there is none. Throws `INDEX_TABLE_DAMAGED` when it is
   * not what was written with this key, and `INDEX_TABLE_WRITE` when it cannot be read.
   */
  static open(path: string, key: RepositoryKey, signal: AbortSignal): Promise<IndexTable | null> {
    return fileStep(async () => {
      const handle = await openForReading(path)
      if (handle === null) return null
      try {
        return await IndexTable.#openVerified(handle, key, signal)
      } catch (error) {
        await handle.close()
        throw error
      }
    })
  }

  static async #openVerified(
    handle: FileHandle,
    key: RepositoryKey,
    signal: AbortSignal,
  ): Promise<IndexTable> {
    const stat = await handle.stat()
    const bodyBytes = stat.size - sealedTrailerBytes
    if (!stat.isFile() || bodyBytes < 0) throw damaged('it is no file of a table')
    const { counts, cipher, bodyDigest } = openTrailerOf(
      key,
      await readExactly(handle, bodyBytes, sealedTrailerBytes),
    )
    if (layoutOf(counts).bodyBytes !== bodyBytes) throw damaged('it is longer or shorter than it was')
    if ((await digestOf(handle, bodyBytes, signal)) !== bodyDigest)
      throw damaged('its content is not what was sealed')
    const file = new EncryptedFile(handle, cipher)
    return new IndexTable(file, counts, await readIndexIds(file, counts), await readResident(file, counts))
  }

  /** For `new IndexTableReader` in other threads, which must have ended before the table is disposed of. */
  share(): IndexTableShare {
    return this.#share
  }

  /** All packs by number, each with its blobs. */
  async *packs(): AsyncGenerator<TablePack> {
    const packs = this.section('packs')
    const records = this.section('records')
    let view = new RecordView(new Uint8Array(0))
    let viewFirst = 0
    for (let first = 0; first < this.counts.packs; first += packsAtOnce) {
      const count = Math.min(packsAtOnce, this.counts.packs - first)
      const entries = await packs.read(first * packEntry.bytes, count * packEntry.bytes)
      for (let pack = 0; pack < count; pack++) {
        const entry = parsePackEntry(entries.subarray(pack * packEntry.bytes, (pack + 1) * packEntry.bytes))
        if (entry.firstRecord + entry.count > viewFirst + view.count) {
          viewFirst = entry.firstRecord
          const wanted = Math.min(Math.max(entry.count, recordsAtOnce), this.counts.records - viewFirst)
          view = new RecordView(await records.read(viewFirst * recordBytes, wanted * recordBytes))
        }
        const at = entry.firstRecord - viewFirst
        const blobs = Array.from({ length: entry.count }, (_, blob) => view.blob(at + blob))
        yield tablePack(first + pack, entry, blobs)
      }
    }
  }

  section(name: 'records' | 'packs' | 'blobKeys' | 'packKeys'): StoredSection {
    return this.file.section(this.layout[name])
  }

  /** Readers of other threads throw from here on. */
  async [Symbol.asyncDispose](): Promise<void> {
    Atomics.store(new Int32Array(this.#share.resident), 0, 1)
    await this.file.handle.close()
  }
}

async function readIndexIds(file: EncryptedFile, counts: TableCounts): Promise<readonly Digest[]> {
  const { offset, bytes } = layoutOf(counts).indexes
  const ids = await file.read(offset, bytes)
  return Array.from(
    { length: counts.indexes },
    (_, at) => toHex(ids.subarray(at * indexIdBytes, (at + 1) * indexIdBytes)) as Digest,
  )
}

async function readResident(file: EncryptedFile, counts: TableCounts): Promise<SharedArrayBuffer> {
  const { packSamples, bodyBytes } = layoutOf(counts)
  const resident = new SharedArrayBuffer(residentAt + bodyBytes - packSamples.offset)
  const target = new Uint8Array(resident, residentAt)
  for (let at = packSamples.offset; at < bodyBytes; at += partBytes) {
    const part = await file.read(at, Math.min(partBytes, bodyBytes - at))
    target.set(part, at - packSamples.offset)
    release(part)
  }
  return resident
}

function openTrailerOf(key: RepositoryKey, untrustedSealed: Uint8Array): Trailer {
  try {
    return openTrailer(key, untrustedSealed)
  } catch (cause) {
    if (cause instanceof CodedError) throw damaged('it does not open with the key of the repository', cause)
    throw cause
  }
}

async function digestOf(handle: FileHandle, bytes: number, signal: AbortSignal): Promise<Digest> {
  const digest = new Sha256()
  for (let at = 0; at < bytes; at += partBytes) {
    signal.throwIfAborted()
    const part = await readExactly(handle, at, Math.min(partBytes, bytes - at))
    digest.update(part)
    release(part)
  }
  return digest.finish()
}

function damaged(what: string, cause?: unknown): RepositoryError {
  return new RepositoryError('INDEX_TABLE_DAMAGED', `an index table is not used: ${what}`, { cause })
}
