import { constants, type PathLike } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { CodedError, errnoOf } from '../base/errors.ts'
import { ignoreMissing, readWhole, writeWhole } from '../base/files.ts'
import { release } from '../base/memory.ts'
import { type OffsetCipher, offsetAlignment } from '../crypto/offset-cipher.ts'
import { RepositoryError } from './errors.ts'

const bufferBytes = 512 * 1024
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A part of such a file. `read` gives exactly `length` bytes from `at` on, a multiple of 16. */
export interface StoredSection {
  readonly bytes: number
  readonly read: (at: number, length: number) => Promise<Buffer>
}

/** A file, or the beginning of it, that is encrypted by `OffsetCipher`. Rejections are the system's own unless stated. */
export class EncryptedFile {
  readonly handle: FileHandle
  readonly cipher: OffsetCipher

  constructor(handle: FileHandle, cipher: OffsetCipher) {
    this.handle = handle
    this.cipher = cipher
  }

  /** Exactly `length` bytes in plain. `offset` is a multiple of 16. Throws `INDEX_TABLE_DAMAGED` when the file is shorter. */
  async read(offset: number, length: number): Promise<Buffer> {
    const stored = await readExactly(this.handle, offset, length)
    const plain = this.cipher.apply(stored, offset)
    release(stored)
    return plain
  }

  section({ offset, bytes }: { readonly offset: number; readonly bytes: number }): StoredSection {
    return { bytes, read: (at, length) => this.read(offset + at, length) }
  }
}

/** Written from its beginning to its end; what was written can be read back. */
export class EncryptedWriter implements AsyncDisposable {
  readonly file: EncryptedFile
  readonly #onStored: (bytes: Uint8Array) => void
  readonly #buffer = Buffer.allocUnsafeSlow(bufferBytes)
  #buffered = 0
  #stored = 0

  private constructor(file: EncryptedFile, onStored: (bytes: Uint8Array) => void) {
    this.file = file
    this.#onStored = onStored
  }

  /** Makes a new file that only its owner can read. `onStored` sees all that is written, as it is written. */
  static async create(
    path: PathLike,
    cipher: OffsetCipher,
    onStored: (bytes: Uint8Array) => void = () => {},
  ): Promise<EncryptedWriter> {
    // A leftover of a crash is ours to replace; following a link that someone put there is not.
    await unlink(path).catch(ignoreMissing)
    return new EncryptedWriter(new EncryptedFile(await open(path, 'wx+', 0o600), cipher), onStored)
  }

  /** As `create`, a file without a name, which is gone when it is closed, and when the process ends. */
  static async temporary(path: PathLike, cipher: OffsetCipher): Promise<EncryptedWriter> {
    const writer = await EncryptedWriter.create(path, cipher)
    await unlink(path)
    return writer
  }

  /** How many bytes were appended. */
  get position(): number {
    return this.#stored + this.#buffered
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; ) {
      const part = bytes.subarray(at, at + bufferBytes - this.#buffered)
      this.#buffer.set(part, this.#buffered)
      this.#buffered += part.byteLength
      at += part.byteLength
      if (this.#buffered === bufferBytes) await this.flush()
    }
  }

  /** Appends zeros up to a multiple of 16 bytes. */
  async align(): Promise<void> {
    await this.append(new Uint8Array(-this.position & (offsetAlignment - 1)))
  }

  /** As `EncryptedFile.read`, of what ends before the last multiple of 16. */
  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.#stored) await this.flush()
    return this.file.read(offset, length)
  }

  section({ offset, bytes }: { readonly offset: number; readonly bytes: number }): StoredSection {
    return { bytes, read: (at, length) => this.read(offset + at, length) }
  }

  /** Puts into the file what was appended, up to the last multiple of 16 bytes. Makes nothing durable. */
  async flush(): Promise<void> {
    const whole = this.#buffered & -offsetAlignment
    const stored = this.file.cipher.apply(this.#buffer.subarray(0, whole), this.#stored)
    await writeWhole(this.file.handle, stored, this.#stored)
    this.#onStored(stored)
    release(stored)
    this.#buffer.copyWithin(0, whole, this.#buffered)
    this.#stored += whole
    this.#buffered -= whole
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.handle.close()
  }
}

/** Runs `work`; a refusal of the file system becomes `INDEX_TABLE_FULL` or `INDEX_TABLE_WRITE`. */
export async function fileStep<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    const errno = errnoOf(cause) ?? ''
    if (cause instanceof CodedError || !/^E[A-Z0-9]+$/.test(errno)) throw cause
    const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'INDEX_TABLE_FULL' : 'INDEX_TABLE_WRITE'
    throw new RepositoryError(code, `an index table could not be written or read (${errno})`, { cause })
  }
}

/** `null` when there is none. A planted FIFO cannot hold a thread. Throws `INDEX_TABLE_DAMAGED` for a planted link. */
export async function openForReading(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, readFlags)
  } catch (cause) {
    if (errnoOf(cause) === 'ELOOP')
      throw new RepositoryError('INDEX_TABLE_DAMAGED', 'in the place of an index table is a link', { cause })
    ignoreMissing(cause)
    return null
  }
}

export async function readExactly(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length)
  if (!(await readWhole(handle, bytes, offset)))
    throw new RepositoryError('INDEX_TABLE_DAMAGED', 'an index table ends too early')
  return bytes
}
