import { release } from '../base/memory.ts'
import { sha256, sha256Hex } from '../crypto/digest.ts'
import type { NewVolume, VolumeSink } from '../host/volumes.ts'
import type { EntryOf } from '../ledger/entry.ts'
import { ContentMap } from '../repository/content-map.ts'
import { type ManifestVm, type ManifestVolume, parseManifest } from '../repository/manifest.ts'
import { RestoreError } from './errors.ts'
import { type Frame, parseFrame, parseVolumeHeader, type VolumeHeader } from './protocol.ts'

interface Open {
  readonly header: VolumeHeader
  readonly target: NewVolume
  readonly expected: ManifestVolume
  /** Chunks that have arrived, by their hashes; the others are zeros. */
  readonly content: ContentMap
}

/**
 * Writes the volumes that a sandbox sends, as opaque bytes. The manifest must have the digest that the ledger binds;
 * each volume must be in it, once, and hash to what it says. Nothing is visible before `commit`. The sink is the caller's
 * to dispose of.
 */
export class VolumeReceiver {
  readonly #sink: VolumeSink
  readonly #entry: EntryOf<'snapshot'>
  readonly #signal: AbortSignal
  readonly #done = new Set<string>()
  #manifest: readonly ManifestVm[] | null = null
  #open: Open | null = null
  #bytes = 0

  constructor(sink: VolumeSink, entry: EntryOf<'snapshot'>, signal: AbortSignal) {
    this.#sink = sink
    this.#entry = entry
    this.#signal = signal
  }

  async take(frame: Frame): Promise<void> {
    switch (frame.kind) {
      case 'manifest':
        if (this.#manifest !== null) throw new RestoreError('VERDICT_INVALID', 'a second manifest')
        this.#manifest = this.#checkedManifest(frame)
        return
      case 'volume':
        return await this.#begin(parseFrame(frame, parseVolumeHeader))
      case 'data':
        return await this.#write(frame)
      case 'volume-end':
        return this.#end()
      default:
        throw new RestoreError('VERDICT_INVALID', `a ${frame.kind} frame from the sandbox`)
    }
  }

  /** Makes all volumes visible; only when every volume of the manifest has arrived. */
  async commit(): Promise<{ volumes: number; bytes: number }> {
    if (this.#open !== null || this.#done.size !== this.#entry.volumes)
      throw new RestoreError(
        'RESTORE_DIGEST',
        `${this.#done.size} volumes arrived whole; the ledger expects ${this.#entry.volumes}`,
      )
    await this.#sink.commit()
    return { volumes: this.#done.size, bytes: this.#bytes }
  }

  #checkedManifest(frame: Frame): readonly ManifestVm[] {
    return frame.payload.parse(bytes => {
      if (sha256Hex(bytes) !== this.#entry.manifest)
        throw new RestoreError('RESTORE_DIGEST', 'the manifest is not the one that the ledger binds')
      return parseManifest(bytes)
    })
  }

  async #begin(header: VolumeHeader): Promise<void> {
    const expected = this.#expected(header)
    if (this.#open !== null || this.#done.has(keyOf(header)) || expected.bytes !== header.bytes)
      throw new RestoreError(
        'VERDICT_INVALID',
        'a volume out of turn, twice, or of another size than the manifest says',
      )
    const target = await this.#sink.create(header.vm, header.volume, header.bytes, this.#signal)
    this.#open = { header, target, expected, content: ContentMap.of(expected.bytes, expected.chunkBytes) }
  }

  async #write(frame: Frame): Promise<void> {
    const open = this.#mustBeOpen()
    const { offset, bytes } = frame.payload.parse(payload => {
      if (payload.byteLength < 8) throw new RestoreError('VERDICT_INVALID', 'a data frame without its offset')
      const view = new DataView(payload.buffer, payload.byteOffset)
      return { offset: Number(view.getBigUint64(0)), bytes: payload.subarray(8) }
    })
    this.#hash(open.content, bytes, offset)
    await open.target.write(bytes, offset)
    release(bytes)
  }

  /** Data comes in whole chunks, in any order, each at most once. */
  #hash(content: ContentMap, bytes: Uint8Array, offset: number): void {
    const { chunkBytes, volumeBytes } = content
    const end = offset + bytes.byteLength
    if (offset % chunkBytes !== 0 || end > volumeBytes || (end % chunkBytes !== 0 && end !== volumeBytes))
      throw new RestoreError('VERDICT_INVALID', 'data that are no whole chunks of the volume')
    for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
      const chunk = (offset + at) / chunkBytes
      if (content.get(chunk) !== null)
        throw new RestoreError('VERDICT_INVALID', 'a chunk that was sent before')
      content.set(chunk, sha256(bytes.subarray(at, at + chunkBytes)))
    }
  }

  #end(): void {
    const { header, expected, content } = this.#mustBeOpen()
    if (content.digest() !== expected.digest)
      throw new RestoreError('RESTORE_DIGEST', 'a restored volume has not the digest that the manifest gives')
    this.#done.add(keyOf(header))
    this.#bytes += header.bytes
    this.#open = null
  }

  #expected({ vm, volume }: VolumeHeader): ManifestVolume {
    if (this.#manifest === null) throw new RestoreError('VERDICT_INVALID', 'a volume before the manifest')
    const found = this.#manifest.find(one => one.name === vm)?.volumes.find(one => one.name === volume)
    if (found === undefined) throw new RestoreError('VERDICT_INVALID', 'a volume that is not in the manifest')
    return found
  }

  #mustBeOpen(): Open {
    if (this.#open === null) throw new RestoreError('VERDICT_INVALID', 'data outside of a volume')
    return this.#open
  }
}

function keyOf({ vm, volume }: VolumeHeader): string {
  return `${vm}/${volume}`
}
