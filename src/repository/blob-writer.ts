import type { Entropy } from '../base/environment.ts'
import { sha256 } from '../crypto/digest.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import type { BlobTable } from './blob-table.ts'
import { compress } from './compression.ts'
import { RepositoryError } from './errors.ts'
import { type BlobType, blobBytesMax, type ObjectReference } from './format.ts'
import type { IndexedPack } from './index.ts'
import { Lanes } from './lanes.ts'
import { PackBuilder } from './pack.ts'
import { release } from './release.ts'
import type { Repository } from './repository.ts'

/*
 * From plaintext to durable packs: id → known? → zstd in the thread pool → sealed into the open pack of its type →
 * put when the pack is full. Everything but zstd and the store runs in turn on this thread, so no lock is needed; what
 * waits is bounded by the lanes.
 */

/** A few more than there are cores; not many, for reads of volumes queue in the same pool of threads. */
const compressionsMax = 6

export interface BlobWriterOptions {
  readonly repository: Repository
  readonly store: ObjectStore
  readonly table: BlobTable
  readonly entropy: Entropy
  /** How many packs are on their way to the storage at once. */
  readonly concurrency: number
}

interface OpenPack {
  readonly number: number
  readonly builder: PackBuilder
  /** Numbers in the table of the blobs in it. */
  readonly entries: number[]
}

export interface WrittenPack extends ObjectReference {
  readonly entries: readonly number[]
}

export class BlobWriter {
  readonly #options: BlobWriterOptions
  readonly #compressions = new Lanes(compressionsMax)
  readonly #uploads: Lanes
  readonly #stop = new AbortController()
  readonly #open: Record<BlobType, OpenPack | null> = { data: null, tree: null }
  readonly #spareBodies: Uint8Array[] = []
  readonly #written: WrittenPack[] = []
  #bytesStored = 0

  constructor(options: BlobWriterOptions) {
    this.#options = options
    this.#uploads = new Lanes(options.concurrency)
  }

  /** Packs that were finished, in the order in which they were. All are durable after `flush`. */
  get written(): readonly WrittenPack[] {
    return this.#written
  }

  get bytesStored(): number {
    return this.#bytesStored
  }

  /** Resolves when there is room for more; throws the first failure of what went before. */
  async room(): Promise<void> {
    await this.#compressions.room()
    await this.#uploads.room()
  }

  /** The id of a blob, which is stored unless it is known. `held` must not change until `release` is called. */
  add(type: BlobType, held: Uint8Array, hold?: { retain(): void; release(): void }): Uint8Array {
    const { table } = this.#options
    if (held.byteLength > blobBytesMax[type])
      throw new RepositoryError(
        'REPOSITORY_LIMIT',
        `a ${type} blob of ${held.byteLength} bytes; at most ${blobBytesMax[type]} are allowed`,
      )
    const id = sha256(held)
    if (table.find(type, id) >= 0) return id
    const entry = table.claim(type, id)
    hold?.retain()
    this.#compressions.start(async () => {
      try {
        const compressed = await compress(held)
        this.#stop.signal.throwIfAborted()
        this.#pack(type, entry, id, compressed ?? held, compressed === null ? 0 : held.byteLength)
        if (compressed !== null) release(compressed)
      } finally {
        hold?.release()
      }
    })
    return id
  }

  /** Every blob that was added is in a durable pack when this resolves. */
  async flush(): Promise<void> {
    await this.#compressions.idle()
    this.#upload('data')
    this.#upload('tree')
    await this.#uploads.idle()
  }

  /** What was put stays behind as packs that no index names. Resolves when nothing is under way any more. */
  async abort(reason: unknown): Promise<void> {
    this.#stop.abort(reason)
    this.#compressions.fail(reason)
    this.#uploads.fail(reason)
    await this.#compressions.settled()
    await this.#uploads.settled()
  }

  /** What an index says of the packs that were written. */
  *indexed(): Iterable<IndexedPack> {
    const { table } = this.#options
    for (const { id, entries } of this.#written) {
      const blobs = entries.map(entry => {
        const location = table.location(entry)
        if (location === null) throw new RangeError('a written blob has no place')
        const { offset, length, uncompressedLength } = location
        return { id: table.idHex(entry), type: table.type(entry), offset, length, uncompressedLength }
      })
      yield { id, blobs }
    }
  }

  #pack(
    type: BlobType,
    entry: number,
    id: Uint8Array,
    payload: Uint8Array,
    uncompressedLength: number,
  ): void {
    const pack = this.#openPack(type)
    const { offset, length } = pack.builder.add(id, payload, uncompressedLength)
    pack.entries.push(entry)
    this.#options.table.place(entry, { pack: pack.number, offset, length, uncompressedLength })
    if (pack.builder.full) this.#upload(type)
  }

  #openPack(type: BlobType): OpenPack {
    const { repository, entropy, table } = this.#options
    const open = this.#open[type]
    if (open !== null) return open
    const builder = new PackBuilder(type, repository.key, entropy, this.#spareBodies.pop())
    const pack = { number: table.addPack(null), builder, entries: [] }
    this.#open[type] = pack
    return pack
  }

  #upload(type: BlobType): void {
    const open = this.#open[type]
    if (open === null) return
    this.#open[type] = null
    const { id, bytes, body } = open.builder.finish()
    this.#options.table.namePack(open.number, id)
    this.#written.push({ id, bytes, entries: open.entries })
    this.#uploads.start(async () => {
      await this.#options.store.put(objectName('data', id), body, this.#stop.signal)
      this.#bytesStored += bytes
      this.#spareBodies.push(new Uint8Array(body.buffer))
    })
  }
}
