import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { RecordView } from './blob-records.ts'
import type { BlobType, ObjectReference } from './format.ts'
import type { IndexedPack } from './index.ts'
import { Lanes } from './lanes.ts'

/** A pack that is in the storage, and what an index will say of it. */
export interface StoredPack extends ObjectReference {
  readonly type: BlobType
  /** As `BlobRecords` has them. */
  readonly records: Uint8Array
}

export interface PackUploadsOptions {
  readonly store: ObjectStore
  /** How many packs are on their way to the storage at once. */
  readonly concurrency: number
  /** A pack is durable in the storage: the place to remember it, so that an interrupted backup finds it again. One at a time. */
  readonly onStored: (pack: StoredPack) => Promise<void>
  /** Called at the first failure, which `throwIfFailed` and `idle` throw. */
  readonly onFailure: () => void
}

/** Puts packs, a few at a time, and remembers what is in them. */
export class PackUploads {
  readonly #options: PackUploadsOptions
  readonly #lanes: Lanes
  readonly #stop = new AbortController()
  readonly #stored: StoredPack[]
  #turns: Promise<void> = Promise.resolve()
  #remembered: Promise<void> = Promise.resolve()
  #bytesStored = 0

  /** `adopted`: packs that an interrupted backup left in the storage, of which no index tells yet. */
  constructor(options: PackUploadsOptions, adopted: readonly StoredPack[]) {
    this.#options = options
    this.#lanes = new Lanes(options.concurrency)
    this.#stored = [...adopted]
  }

  /** In the order in which they were stored, those that were adopted first. */
  get stored(): readonly StoredPack[] {
    return this.#stored
  }

  /** Of the packs that were put. */
  get bytesStored(): number {
    return this.#bytesStored
  }

  /** Puts a pack when its turn has come; `done` is called when `body` is no longer needed. */
  put({ type, id, bytes, records }: StoredPack, body: Uint8Array, done: () => void = () => {}): void {
    const { store, onFailure } = this.#options
    // No more than what is remembered: the body goes as soon as it is stored.
    const pack = { type, id, bytes, records }
    const task = async () => {
      await store.put(objectName('data', pack.id), body, this.#stop.signal)
      await this.#remember(pack)
      this.#bytesStored += pack.bytes
      this.#stored.push(pack)
      done()
    }
    this.#turns = this.#turns
      .then(() => this.#lanes.room())
      .then(() =>
        this.#lanes.start(() =>
          task().catch(error => {
            this.#lanes.fail(error)
            onFailure()
          }),
        ),
      )
      // The lanes keep the failure for whoever waits for them.
      .catch(() => {})
  }

  async #remember(pack: StoredPack): Promise<void> {
    this.#remembered = this.#remembered.then(() => this.#options.onStored(pack))
    await this.#remembered
  }

  throwIfFailed(): void {
    this.#lanes.throwIfFailed()
  }

  /** All packs are durable. */
  async idle(): Promise<void> {
    await this.#turns
    await this.#lanes.idle()
  }

  /** Resolves when nothing is under way any more. */
  async abort(reason: unknown): Promise<void> {
    this.#stop.abort(reason)
    this.#lanes.fail(reason)
    await this.#turns
    await this.#lanes.settled()
  }

  /** What an index says of the packs that are stored. */
  *indexed(): Iterable<IndexedPack> {
    for (const { id, records } of this.#stored) {
      yield { id, blobs: new RecordView(records).blobs() }
    }
  }
}
