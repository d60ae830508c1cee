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
  /** So many pages may be in memory: a page takes the place of another of the same number modulo this. */
  readonly pagesKept: number
}

export interface OpenFile {
  readonly fd: number
  readonly cipher: OffsetCipher
  /** Not 0 once the file is closed: its number may be another file's then. */
  readonly closed: Int32Array
}

export interface Page {
  readonly bytes: Buffer
  /** Number of its first entry. */
  readonly first: number
}

interface KeptPage extends Page {
  readonly number: number
}

/** Entries of one section of an encrypted file, the pages that were wanted last in memory. */
export class PageReader {
  readonly #file: OpenFile
  readonly #section: PagedSection
  readonly #stored: Buffer
  readonly #kept: (KeptPage | undefined)[] = []

  constructor(file: OpenFile, section: PagedSection) {
    this.#file = file
    this.#section = section
    this.#stored = Buffer.allocUnsafeSlow(section.entriesPerPage * section.entryBytes)
  }

  get entries(): number {
    return this.#section.entries
  }

  /** The page that holds `entry`. */
  pageOf(entry: number): Page {
    const { entries, entriesPerPage, pagesKept } = this.#section
    if (!(entry >= 0 && entry < entries)) throw new RangeError('no entry of this number')
    if (Atomics.load(this.#file.closed, 0) !== 0) throw new RangeError('the index table was closed')
    const number = Math.floor(entry / entriesPerPage)
    const kept = this.#kept[number % pagesKept]
    if (kept?.number === number) return kept
    const page = { number, first: number * entriesPerPage, bytes: this.#load(number) }
    this.#kept[number % pagesKept] = page
    return page
  }

  #load(page: number): Buffer {
    const { offset, entries, entryBytes, entriesPerPage } = this.#section
    const { fd, cipher } = this.#file
    const at = offset + page * entriesPerPage * entryBytes
    const length = Math.min(entriesPerPage, entries - page * entriesPerPage) * entryBytes
    for (let read = 0; read < length; ) {
      const bytesRead = readSync(fd, this.#stored, read, length - read, at + read)
      if (bytesRead === 0)
        throw new RepositoryError('INDEX_TABLE_DAMAGED', 'an index table became shorter while it was open')
      read += bytesRead
    }
    return cipher.apply(this.#stored.subarray(0, length), at)
  }
}
