import { rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fromHex, toHex } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { ignoreMissing, syncDirectory, writeWhole } from '../base/files.ts'
import { release } from '../base/memory.ts'
import type { Digest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { Sha256 } from '../crypto/digest.ts'
import { OffsetCipher } from '../crypto/offset-cipher.ts'
import { BlobFilter, filterBytesFor } from './blob-filter.ts'
import { placeRecords, RecordView, recordBytes } from './blob-records.ts'
import { EncryptedWriter, fileStep, type StoredSection } from './encrypted-file.ts'
import { RepositoryError } from './errors.ts'
import type { ScannedIndex } from './index-scan.ts'
import type { IndexTable } from './index-table.ts'
import {
  entriesMax,
  indexIdBytes,
  noCounts,
  packEntry,
  packIdBytes,
  sealTrailer,
  type TableCounts,
} from './index-table-format.ts'
import { KeySorter } from './key-runs.ts'
import { writeKeys } from './key-section.ts'
import { keyStartOf } from './sorted-keys.ts'

/** Sorted in memory at once; 16 bytes each. */
const blobKeysAtOnce = 1 << 18
const packKeysAtOnce = 1 << 16
/** Whole entries of packs, and a multiple of 16. */
const copyBytes = 8192 * packEntry.bytes

interface Files {
  readonly table: EncryptedWriter
  /** Entries of packs, until it is known which are repeated. */
  readonly packs: EncryptedWriter
  readonly runs: EncryptedWriter
  readonly opened: AsyncDisposable
}

/**
 * Makes an index table out of index objects that come one after the other, in memory that depends little on how many: records go
 * into the file as they come, keys are sorted in runs and merged. Until `finish` the file is the one from before, if any. Not for two
 * writers of one file at once. Throws `INDEX_TABLE_FULL` and `INDEX_TABLE_WRITE`.
 */
export class IndexTableWriter implements AsyncDisposable {
  readonly #path: string
  readonly #entropy: Entropy
  readonly #files: Files
  /** Of what is in the body so far. */
  readonly #digest: Sha256
  readonly #blobKeys: KeySorter
  readonly #packKeys: KeySorter
  readonly #indexes: Digest[]
  /** Of the table that is extended. */
  readonly #before: TableCounts
  #records: number
  #packs: number

  private constructor(path: string, entropy: Entropy, files: Files, digest: Sha256, base: IndexTable | null) {
    this.#path = path
    this.#entropy = entropy
    this.#files = files
    this.#digest = digest
    this.#indexes = [...(base?.indexes ?? [])]
    this.#before = base?.counts ?? noCounts
    this.#records = this.#before.records
    this.#packs = this.#before.packs
    const sorted = (name: 'blobKeys' | 'packKeys') => (base === null ? [] : [base.section(name)])
    this.#blobKeys = new KeySorter(files.runs, blobKeysAtOnce, this.#records, sorted('blobKeys'))
    this.#packKeys = new KeySorter(files.runs, packKeysAtOnce, this.#packs, sorted('packKeys'))
  }

  /**
   * The table will have what `base` has, and what is added. `base` may be the file that is replaced, and stays open until `finish`
   * has returned.
   */
  static begin(path: string, base: IndexTable | null, entropy: Entropy): Promise<IndexTableWriter> {
    return fileStep(async () => {
      const cipher = () => OffsetCipher.generate(entropy)
      const digest = new Sha256()
      await using opened = new AsyncDisposableStack()
      // Gone already when the table has its name.
      opened.defer(() => unlink(besideOf(path)).catch(ignoreMissing))
      const table = await EncryptedWriter.create(besideOf(path), cipher(), bytes => digest.update(bytes))
      opened.use(table)
      const packs = opened.use(await EncryptedWriter.temporary(`${path}.packs`, cipher()))
      const runs = opened.use(await EncryptedWriter.temporary(`${path}.keys`, cipher()))
      if (base !== null) {
        await copy(base.section('records'), table)
        await copy(base.section('packs'), packs)
      }
      const files = { table, packs, runs, opened: opened.move() }
      return new IndexTableWriter(path, entropy, files, digest, base)
    })
  }

  /**
   * `id`: of the index object, which no table has twice. Changes `records`. Throws `REPOSITORY_LIMIT` when the table would be too large.
   */
  add(id: Digest, { packs, records }: ScannedIndex): Promise<void> {
    return fileStep(async () => {
      if (this.#records + records.count > entriesMax || this.#packs + packs.length > entriesMax)
        throw new RepositoryError('REPOSITORY_LIMIT', `more than ${entriesMax} blobs in the indexes`)
      const entries = Buffer.alloc(packs.length * packEntry.bytes)
      for (const [at, { id, first, count }] of packs.entries()) {
        const entry = entries.subarray(at * packEntry.bytes)
        entry.set(id)
        entry.writeUInt32LE(this.#records + first, packEntry.first)
        entry.writeUInt32LE(count, packEntry.count)
        entry.writeUInt32LE(this.#indexes.length, packEntry.index)
        placeRecords(records.bytes(first, count), this.#packs + at)
      }
      await addKeys(this.#packKeys, entries, packEntry.bytes)
      await this.#files.packs.append(entries)
      await addKeys(this.#blobKeys, records.bytes(), recordBytes)
      await this.#files.table.append(records.bytes())
      this.#packs += packs.length
      this.#records += records.count
      this.#indexes.push(id)
    })
  }

  /** Gives the table its name, durably. Afterwards there is nothing to do but to dispose of the writer. */
  finish(key: RepositoryKey): Promise<void> {
    return fileStep(async () => {
      const { table } = this.#files
      const packs = await this.#writePacks()
      for (const id of this.#indexes) await table.append(fromHex(id, indexIdBytes))
      const blobs = await this.#writeBlobKeys()
      for (const { buffer } of [packs.samples, blobs.samples, blobs.filter]) {
        await table.append(new Uint8Array(buffer))
        await table.align()
        release(new Uint8Array(buffer))
      }
      await table.flush()
      const counts = {
        records: this.#records,
        packs: this.#packs,
        indexes: this.#indexes.length,
        repeatedRecords: blobs.repeated,
        repeatedPacks: packs.repeated,
      }
      const { handle, cipher } = table.file
      const trailer = { counts, cipher, bodyDigest: this.#digest.finish() }
      await writeWhole(handle, sealTrailer(key, trailer, this.#entropy), table.position)
      await handle.sync()
      await rename(besideOf(this.#path), this.#path)
      await syncDirectory(path.dirname(this.#path))
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files.opened[Symbol.asyncDispose]()
  }

  async #writePacks() {
    const { table, packs } = this.#files
    let repeated = this.#before.repeatedPacks
    const marks = new Uint8Array(this.#packs)
    const samples = await writeKeys(table, this.#packKeys, {
      keys: this.#packs,
      known: this.#before.packs,
      identityOf: async pack => toHex(await packs.read(pack * packEntry.bytes, packIdBytes)),
      onRepeat: pack => {
        marks[pack] = 1
        repeated += 1
      },
    })
    const entriesAtOnce = copyBytes / packEntry.bytes
    for (let first = 0; first < this.#packs; first += entriesAtOnce) {
      const count = Math.min(entriesAtOnce, this.#packs - first)
      const entries = await packs.read(first * packEntry.bytes, count * packEntry.bytes)
      for (let pack = 0; pack < count; pack++)
        if (marks[first + pack] === 1) entries.writeUInt32LE(1, pack * packEntry.bytes + packEntry.repeats)
      await table.append(entries)
      release(entries)
    }
    return { samples, repeated }
  }

  async #writeBlobKeys() {
    const { table } = this.#files
    let repeated = this.#before.repeatedRecords
    const filter = new Uint32Array(filterBytesFor(this.#records) / Uint32Array.BYTES_PER_ELEMENT)
    const known = new BlobFilter(filter)
    const samples = await writeKeys(table, this.#blobKeys, {
      keys: this.#records,
      known: this.#before.records,
      identityOf: async record =>
        new RecordView(await table.read(record * recordBytes, recordBytes)).identity(0),
      onRepeat: () => {
        repeated += 1
      },
      onKey: (high, low) => known.add(high, low),
    })
    return { samples, filter, repeated }
  }
}

function besideOf(file: string): string {
  return `${file}.new`
}

/** Of entries that begin with an id. */
async function addKeys(sorter: KeySorter, entries: Uint8Array, entryBytes: number): Promise<void> {
  for (let at = 0; at < entries.byteLength; at += entryBytes) {
    const { high, low } = keyStartOf(entries, at)
    if (sorter.add(high, low)) await sorter.spill()
  }
}

async function copy({ bytes, read }: StoredSection, into: EncryptedWriter): Promise<void> {
  for (let at = 0; at < bytes; at += copyBytes) {
    const part = await read(at, Math.min(copyBytes, bytes - at))
    await into.append(part)
    release(part)
  }
}
