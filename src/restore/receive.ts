import type { ByteRange } from '../base/byte-range.ts'
import type { Log } from '../base/log.ts'
import { release } from '../base/memory.ts'
import type { RestoreChoice } from '../base/restore-choice.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { VolumeSink } from '../host/volumes.ts'
import type { EntryOf } from '../ledger/entry.ts'
import { ContentMap } from '../repository/content-map.ts'
import { type ManifestVm, parseManifest } from '../repository/manifest.ts'
import { type ChosenVolume, volumesChosen } from './choice.ts'
import { RestoreError } from './errors.ts'
import { VolumeFiller } from './fill.ts'
import { contentChunksMax, type Frame, type FrameKind, jsonPayload } from './protocol.ts'

/** Sends a frame to the sandbox. */
export type Say = (kind: FrameKind, payload: Uint8Array) => void

export interface WantedRestore {
  readonly entry: EntryOf<'snapshot'>
  readonly choice: RestoreChoice
}

export interface ReceiverPorts {
  readonly sink: VolumeSink
  readonly log: Log
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void
}

/** The volume that was asked for. */
interface Open {
  readonly chosen: ChosenVolume
  readonly range: ByteRange
  readonly content: ContentMap
  /** Chunks of the content that have been named. */
  named: number
  /** Set when all have been. */
  filler: VolumeFiller | null
}

/**
 * Leads a restore, and writes the volumes that a sandbox sends, as opaque bytes. The manifest must have the digest that the
 * ledger binds, the hashes of a volume's chunks the digest that the manifest gives, and each chunk its hash: whatever is
 * written is right, wherever it came from. Nothing is visible before `commit`. The sink is the caller's to dispose of.
 */
export class VolumeReceiver {
  readonly #wanted: WantedRestore
  readonly #ports: ReceiverPorts
  readonly #signal: AbortSignal
  #chosen: readonly ChosenVolume[] | null = null
  #open: Open | null = null
  /** Volumes that are whole. */
  #whole = 0
  #finished = false
  #bytesDone = 0
  #bytesTotal = 0
  #bytesReused = 0

  constructor(wanted: WantedRestore, ports: ReceiverPorts, signal: AbortSignal) {
    this.#wanted = wanted
    this.#ports = ports
    this.#signal = signal
  }

  async take(frame: Frame, say: Say): Promise<void> {
    switch (frame.kind) {
      case 'manifest':
        return await this.#choose(frame, say)
      case 'content':
        return await this.#name(frame, say)
      case 'data':
        return await this.#write(frame)
      case 'volume-end':
        return await this.#end(say)
      default:
        throw new RestoreError('VERDICT_INVALID', `a ${frame.kind} frame from the sandbox`)
    }
  }

  /**
   * Makes all volumes visible; only when every one that was chosen is whole. `bytesReused`: of what an earlier restore had
   * right.
   */
  async commit(): Promise<{ volumes: number; bytes: number; bytesReused: number }> {
    if (!this.#finished)
      throw new RestoreError(
        'RESTORE_DIGEST',
        `only ${this.#whole} of the volumes that were ordered arrived whole`,
      )
    await this.#ports.sink.commit()
    return { volumes: this.#whole, bytes: this.#bytesTotal, bytesReused: this.#bytesReused }
  }

  async #choose(frame: Frame, say: Say): Promise<void> {
    if (this.#chosen !== null) throw new RestoreError('VERDICT_INVALID', 'a second manifest')
    this.#chosen = volumesChosen(this.#manifestIn(frame), this.#wanted.choice, this.#ports.log)
    this.#bytesTotal = this.#chosen.reduce((sum, one) => sum + rangeOf(one).length, 0)
    await this.#ask(say)
  }

  #manifestIn(frame: Frame): readonly ManifestVm[] {
    return frame.payload.parse(bytes => {
      if (sha256Hex(bytes) !== this.#wanted.entry.manifest)
        throw new RestoreError('RESTORE_DIGEST', 'the manifest is not the one that the ledger binds')
      return parseManifest(bytes)
    })
  }

  async #ask(say: Say): Promise<void> {
    const chosen = this.#chosen?.[this.#whole]
    if (chosen === undefined) {
      this.#finished = true
      say('finish', new Uint8Array(0))
      return
    }
    const { vm, volume } = chosen
    const content = ContentMap.of(volume.bytes, volume.chunkBytes)
    const open: Open = { chosen, range: rangeOf(chosen), content, named: 0, filler: null }
    this.#open = open
    say('volume', jsonPayload({ vm, volume: volume.name }))
    if (content.length === 0) await this.#fill(open, say)
  }

  async #name(frame: Frame, say: Say): Promise<void> {
    const open = this.#open
    if (open === null || open.filler !== null)
      throw new RestoreError('VERDICT_INVALID', 'the content of a volume that was not asked for')
    const { content } = open
    const to = Math.min(open.named + contentChunksMax, content.length)
    frame.payload.parse(bytes => content.unpack(bytes, open.named, to))
    open.named = to
    if (to === content.length) await this.#fill(open, say)
  }

  /** Takes over what is there already, and asks for the rest. */
  async #fill(open: Open, say: Say): Promise<void> {
    const { chosen, content, range } = open
    const { vm, volume } = chosen
    if (content.digest() !== volume.digest)
      throw new RestoreError(
        'RESTORE_DIGEST',
        'the content of a volume has not the digest that the manifest gives',
      )
    const name = { vm, volume: volume.name, range: chosen.range }
    const target = await this.#ports.sink.create(name, range.length, this.#signal)
    const onBytes = (bytes: number) => {
      this.#bytesDone += bytes
      this.#ports.onProgress(this.#bytesDone, this.#bytesTotal)
    }
    open.filler = await VolumeFiller.begin({ target, content, range, onBytes }, this.#signal)
    this.#bytesReused += open.filler.bytesReused
    say('chunks', open.filler.awaited.packed())
  }

  async #write(frame: Frame): Promise<void> {
    const { filler } = this.#mustBeOpen()
    if (filler === null) throw new RestoreError('VERDICT_INVALID', 'data before it was asked for')
    const { offset, bytes } = frame.payload.parse(payload => {
      if (payload.byteLength < 8) throw new RestoreError('VERDICT_INVALID', 'a data frame without its offset')
      const view = new DataView(payload.buffer, payload.byteOffset)
      return { offset: Number(view.getBigUint64(0)), bytes: payload.subarray(8) }
    })
    await filler.write(bytes, offset)
    release(bytes)
  }

  async #end(say: Say): Promise<void> {
    const { filler } = this.#mustBeOpen()
    if (filler === null || filler.awaited.size > 0)
      throw new RestoreError('RESTORE_DIGEST', 'a volume ended before all of it had arrived')
    this.#whole += 1
    this.#open = null
    await this.#ask(say)
  }

  #mustBeOpen(): Open {
    if (this.#open === null) throw new RestoreError('VERDICT_INVALID', 'data outside of a volume')
    return this.#open
  }
}

function rangeOf({ range, volume }: ChosenVolume): ByteRange {
  return range ?? { offset: 0, length: volume.bytes }
}
