import { readSync } from 'node:fs'
import type { OffsetCipher } from '../crypto/offset-cipher.ts'
import { RepositoryError } from './errors.ts'

export interface PagedSection {
  /** Where it begins in the file: a multiple of 16. */
  readonly offset: number
  readonly entries: number
  readonly entryBytes: number
  /** A page has a multiple of 16 bytes. */
  readonly entriesPerPage: number
}

export interface OpenFile {
  readonly fd: number
  readonly cipher: OffsetCipher
  /** Not 0 once the file is closed: its number may be another file's then. */
  readonly closed: Int32Array
}

/** Entries of one section of an encrypted file, one page in memory. */
export class PageReader {
  readonly #file: OpenFile
  readonly #section: PagedSection
  readonly #stored: Buffer
  #page = -1
  #bytes: Buffer

  constructor(file: OpenFile, section: PagedSection) {
    this.#file = file
    this.#section = section
    this.#stored = Buffer.allocUnsafeSlow(section.entriesPerPage * section.entryBytes)
    this.#bytes = this.#stored
  }

  get entries(): number {
    return this.#section.entries
  }

  /** The page that holds `entry`, good until the next call, and the number of its first entry. */
  pageOf(entry: number): { readonly bytes: Buffer; readonly first: number } {
    const { entries, entriesPerPage } = this.#section
    if (!(entry >= 0 && entry < entries)) throw new RangeError('no entry of this number')
    const page = Math.floor(entry / entriesPerPage)
    if (page !== this.#page) this.#load(page)
    return { bytes: this.#bytes, first: page * entriesPerPage }
  }

  #load(page: number): void {
    const { offset, entries, entryBytes, entriesPerPage } = this.#section
    const { fd, cipher, closed } = this.#file
    if (Atomics.load(closed, 0) !== 0) throw new RangeError('the index table was closed')
    const at = offset + page * entriesPerPage * entryBytes
    const length = Math.min(entriesPerPage, entries - page * entriesPerPage) * entryBytes
    this.#page = -1
    for (let read = 0; read < length; ) {
      const bytesRead = readSync(fd, this.#stored, read, length - read, at + read)
      if (bytesRead === 0)
        throw new RepositoryError('INDEX_TABLE_DAMAGED', 'an index table became shorter while it was open')
      read += bytesRead
    }
    this.#bytes = cipher.apply(this.#stored.subarray(0, length), at)
    this.#page = page
  }
}
