import { createHash, type Hash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { sha256Hex } from '../crypto/digest.ts'
import type { NewVolume, VolumeSink } from '../host/volumes.ts'
import type { EntryOf } from '../ledger/entry.ts'
import { type ManifestVm, parseManifest } from '../repository/manifest.ts'
import { release } from '../repository/release.ts'
import { RestoreError } from './errors.ts'
import { type Frame, parseFrame, parseVolumeHeader, type VolumeHeader } from './protocol.ts'

const zeros = new Uint8Array(1024 * 1024)

interface Open {
  readonly header: VolumeHeader
  readonly target: NewVolume
  readonly hash: Hash
  /** Everything before is written or a hole, and hashed. */
  at: number
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
        return await this.#end()
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
    this.#open = { header, target, hash: createHash('sha256'), at: 0 }
  }

  async #write(frame: Frame): Promise<void> {
    const open = this.#mustBeOpen()
    const { offset, bytes } = frame.payload.parse(payload => {
      if (payload.byteLength < 8) throw new RestoreError('VERDICT_INVALID', 'a data frame without its offset')
      const view = new DataView(payload.buffer, payload.byteOffset)
      return { offset: Number(view.getBigUint64(0)), bytes: payload.subarray(8) }
    })
    if (offset < open.at || offset + bytes.byteLength > open.header.bytes)
      throw new RestoreError(
        'VERDICT_INVALID',
        'data before what was already sent, or past the end of the volume',
      )
    await hashZeros(open.hash, offset - open.at, this.#signal)
    open.hash.update(bytes)
    await open.target.write(bytes, offset)
    open.at = offset + bytes.byteLength
    release(bytes)
  }

  async #end(): Promise<void> {
    const { header, hash, at } = this.#mustBeOpen()
    await hashZeros(hash, header.bytes - at, this.#signal)
    if (hash.digest('hex') !== this.#expected(header).sha256)
      throw new RestoreError('RESTORE_DIGEST', 'a restored volume does not hash to what the manifest says')
    this.#done.add(keyOf(header))
    this.#bytes += header.bytes
    this.#open = null
  }

  #expected({ vm, volume }: VolumeHeader): { bytes: number; sha256: string } {
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

/** A hole may be as large as the volume: other work goes on, and an abort is heard, meanwhile. */
async function hashZeros(hash: Hash, length: number, signal: AbortSignal): Promise<void> {
  for (let left = length; left > 0; left -= zeros.byteLength) {
    hash.update(zeros.subarray(0, Math.min(left, zeros.byteLength)))
    if (left > zeros.byteLength) await setImmediate()
    signal.throwIfAborted()
  }
}
