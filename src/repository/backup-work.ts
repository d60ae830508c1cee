import { closeSync, constants, openSync, readSync } from 'node:fs'
import type { Entropy } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { HostError } from '../host/errors.ts'
import { BlobPacker, type FinishedPack, type PackerOptions } from './blob-packer.ts'
import { isZero } from './chunker.ts'
import { nextSegment, segmentBytes, stopFlag } from './segments.ts'
import { VolumeChunks, type VolumeWork } from './volume-work.ts'

/*
 * What costs a backup its time, on one thread: read → zero? → SHA-256 → known or claimed? → zstd → seal → pack → hash of
 * the pack. Every thread reads the volume by itself and takes the next segment from a shared counter, so that no plaintext
 * crosses between threads.
 */

/** Where packs go, and buffers for them come from. */
export interface PackOutlet {
  /** Called after every segment; the next one waits for it. */
  progress(): void | Promise<void>
  body(): Promise<Uint8Array | undefined>
  put(pack: FinishedPack): void
}

/** One thread's share of a backup: it keeps its open pack from one volume to the next. */
export class BackupHand {
  readonly #options: PackerOptions
  readonly #outlet: PackOutlet
  readonly #buffer = new Uint8Array(segmentBytes)
  #packer: BlobPacker | null = null

  constructor(key: RepositoryKey, entropy: Entropy, outlet: PackOutlet) {
    this.#options = { type: 'data', key, entropy }
    this.#outlet = outlet
  }

  /** Takes segments until there are none left or the stop flag is up. Throws `VOLUME_READ`. */
  async work(work: VolumeWork): Promise<void> {
    const { name, path, segments } = work
    const volume = new VolumeChunks(work)
    const offsets = new Float64Array(segments.offsets)
    const lengths = new Uint32Array(segments.lengths)
    const control = new Int32Array(segments.control)
    const done = new BigInt64Array(segments.done)
    const file = open(name, path)
    try {
      for (;;) {
        const segment = Atomics.add(control, nextSegment, 1)
        if (segment >= segments.count || Atomics.load(control, stopFlag) !== 0) return
        const bytes = this.#buffer.subarray(0, lengths[segment])
        const offset = offsets[segment] ?? 0
        read(name, file, bytes, offset)
        await this.#chunks(bytes, offset, volume)
        Atomics.add(done, 0, BigInt(bytes.byteLength))
        await this.#outlet.progress()
      }
    } finally {
      closeSync(file)
      this.#buffer.fill(0)
    }
  }

  /** Stores a blob that is no chunk. */
  store(id: Uint8Array, plaintext: Uint8Array): void {
    this.#packer ??= new BlobPacker(this.#options)
    if (this.#packer.add(id, plaintext)) this.flush()
  }

  /** Hands over the pack that is open. */
  flush(): void {
    if (this.#packer !== null) this.#outlet.put(this.#packer.finish())
    this.#packer = null
  }

  async #chunks(bytes: Uint8Array, offset: number, volume: VolumeChunks): Promise<void> {
    const { chunkBytes } = volume
    for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
      const plaintext = bytes.subarray(at, at + chunkBytes)
      if (isZero(plaintext)) continue
      const id = volume.idOfNew((offset + at) / chunkBytes, plaintext)
      if (id === null) continue
      this.#packer ??= new BlobPacker(this.#options, await this.#outlet.body())
      this.store(id, plaintext)
    }
  }
}

function open(name: string, path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (cause) {
    throw new HostError('VOLUME_READ', `volume ${name}: ${errnoOf(cause)}`, { cause })
  }
}

function read(name: string, file: number, into: Uint8Array, offset: number): void {
  for (let at = 0; at < into.byteLength; ) {
    const bytesRead = readPart(name, file, into.subarray(at), offset + at)
    if (bytesRead === 0)
      throw new HostError(
        'VOLUME_READ',
        `volume ${name} ends at ${offset + at}; ${into.byteLength} bytes at ${offset} were expected`,
      )
    at += bytesRead
  }
}

function readPart(name: string, file: number, into: Uint8Array, offset: number): number {
  try {
    return readSync(file, into, 0, into.byteLength, offset)
  } catch (cause) {
    throw new HostError('VOLUME_READ', `volume ${name} at ${offset}: ${errnoOf(cause)}`, { cause })
  }
}
