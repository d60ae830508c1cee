import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { MiB } from '../../base/bytes.ts'
import { ignoreMissing, readWhole } from '../../base/files.ts'

const scanBytes = 4 * MiB

/** A volume, or a partition of one: bytes of a file that nobody else changes. */
export class Region {
  readonly file: string
  /** In the file. */
  readonly offset: number
  readonly bytes: number
  /** Not a part. */
  readonly isWhole: boolean
  readonly #handle: FileHandle

  private constructor(file: string, handle: FileHandle, offset: number, bytes: number, isWhole: boolean) {
    this.file = file
    this.isWhole = isWhole
    this.#handle = handle
    this.offset = offset
    this.bytes = bytes
  }

  /** A whole volume; `null` when it is no plain file of that length. */
  static async open(file: string, bytes: number): Promise<Region | null> {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(ignoreMissing)
    if (handle === undefined) return null
    const found = await handle.stat()
    if (found.isFile() && found.size === bytes) return new Region(file, handle, 0, bytes, true)
    await handle.close()
    return null
  }

  /** `null` when it does not lie within. */
  part(offset: number, bytes: number): Region | null {
    return this.#holds(offset, bytes)
      ? new Region(this.file, this.#handle, this.offset + offset, bytes, false)
      : null
  }

  /** `null` when it does not lie within. */
  async read(at: number, bytes: number): Promise<Buffer | null> {
    if (!this.#holds(at, bytes)) return null
    const into = Buffer.alloc(bytes)
    return (await readWhole(this.#handle, into, this.offset + at)) ? into : null
  }

  /** All of it, part by part; the bytes are good until the next. Throws the signal's reason. */
  async *parts(signal: AbortSignal): AsyncGenerator<{ readonly at: number; readonly bytes: Buffer }> {
    const buffer = Buffer.alloc(Math.min(scanBytes, this.bytes))
    for (let at = 0; at < this.bytes; at += scanBytes) {
      signal.throwIfAborted()
      const bytes = buffer.subarray(0, Math.min(scanBytes, this.bytes - at))
      if (!(await readWhole(this.#handle, bytes, this.offset + at)))
        throw new Error('a volume became shorter')
      yield { at, bytes }
    }
  }

  async isZero(signal: AbortSignal): Promise<boolean> {
    for await (const { bytes } of this.parts(signal)) if (!isZero(bytes)) return false
    return true
  }

  /** Of the volume and all its parts. */
  async close(): Promise<void> {
    await this.#handle.close()
  }

  #holds(at: number, bytes: number): boolean {
    return (
      Number.isSafeInteger(at) &&
      Number.isSafeInteger(bytes) &&
      at >= 0 &&
      bytes > 0 &&
      at <= this.bytes - bytes
    )
  }
}

const zeros = Buffer.alloc(scanBytes)

export function isZero(bytes: Uint8Array): boolean {
  return zeros.subarray(0, bytes.byteLength).equals(bytes)
}
