import { type ByteRange, within } from '../base/byte-range.ts'
import { sha256 } from '../crypto/digest.ts'
import type { NewVolume, ReadEarlier } from '../host/volumes.ts'
import { ChunkSet } from '../repository/chunk-set.ts'
import { chunksThere } from '../repository/chunks-there.ts'
import type { ContentMap } from '../repository/content-map.ts'
import { RestoreError } from './errors.ts'

export interface Filling {
  readonly target: NewVolume
  /** Whose digest has been compared. */
  readonly content: ContentMap
  /** Of the volume, what the target is to hold. */
  readonly range: ByteRange
  readonly onBytes: (bytes: number) => void
}

/** Fills one new volume with chunks, each of which is compared with its hash before it counts, wherever it comes from. */
export class VolumeFiller {
  readonly #filling: Filling
  /** Chunks that are still to come. */
  readonly #awaited: ChunkSet
  #bytesReused = 0

  private constructor(filling: Filling) {
    const { content, range } = filling
    this.#filling = filling
    this.#awaited = ChunkSet.within(range, content.length, content.chunkBytes)
  }

  /** Takes over what is right already. */
  static async begin(filling: Filling, signal: AbortSignal): Promise<VolumeFiller> {
    const { left, reusable } = filling.target
    const filler = new VolumeFiller(filling)
    if (left !== null) await filler.#takeOver(left, async () => {}, signal)
    await filler.#clear()
    if (reusable !== null)
      await filler.#takeOver(reusable, (bytes, offset) => filling.target.write(bytes, offset), signal)
    return filler
  }

  get awaited(): ChunkSet {
    return this.#awaited
  }

  /** Of what an earlier restore had right. */
  get bytesReused(): number {
    return this.#bytesReused
  }

  /** Whole chunks: each one that is awaited, once, and with its hash. */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    const { target, range, onBytes } = this.#filling
    this.#requireAwaited(bytes, offset)
    const part = within(range, bytes, offset)
    await target.write(part, Math.max(offset - range.offset, 0))
    onBytes(part.byteLength)
  }

  async #takeOver(
    earlier: ReadEarlier,
    take: (bytes: Uint8Array, offset: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { content, onBytes } = this.#filling
    const right = async (bytes: Uint8Array, chunk: number) => {
      await take(bytes, chunk * content.chunkBytes)
      onBytes(bytes.byteLength)
      if (content.get(chunk) !== null) this.#bytesReused += bytes.byteLength
    }
    for (const chunk of await chunksThere(earlier, content, this.#awaited, right, signal))
      this.#awaited.delete(chunk)
  }

  /** Zeros are never sent, and written only where something else was left. */
  async #clear(): Promise<void> {
    const { target, content, range, onBytes } = this.#filling
    const zeros = new Uint8Array(content.chunkBytes)
    for (const chunk of this.#awaited) {
      if (content.get(chunk) !== null) continue
      const offset = chunk * content.chunkBytes
      const part = within(range, zeros.subarray(0, content.bytesOf(chunk)), offset)
      if (target.left !== null) await target.write(part, Math.max(offset - range.offset, 0))
      this.#awaited.delete(chunk)
      onBytes(part.byteLength)
    }
  }

  #requireAwaited(bytes: Uint8Array, offset: number): void {
    const { chunkBytes, volumeBytes } = this.#filling.content
    const end = offset + bytes.byteLength
    if (offset % chunkBytes !== 0 || end > volumeBytes || (end % chunkBytes !== 0 && end !== volumeBytes))
      throw new RestoreError('VERDICT_INVALID', 'data that are no whole chunks of the volume')
    for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
      const chunk = (offset + at) / chunkBytes
      const id = this.#filling.content.get(chunk)
      if (id === null || !this.#awaited.has(chunk))
        throw new RestoreError('VERDICT_INVALID', 'a chunk that was not asked for, or was sent before')
      if (Buffer.compare(sha256(bytes.subarray(at, at + chunkBytes)), id) !== 0)
        throw new RestoreError('RESTORE_DIGEST', 'a chunk that does not have its hash')
      this.#awaited.delete(chunk)
    }
  }
}
