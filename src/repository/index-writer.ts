import type { Entropy } from '../base/environment.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { indexBlobsMax, type ObjectReference } from './format.ts'
import { encodeIndex, type IndexedPack } from './index.ts'
import { packBytesOf } from './pack.ts'
import type { Repository } from './repository.ts'
import { sealUnpacked } from './unpacked.ts'

/** An index object that is durable, and the packs that it names. */
export interface WrittenIndex extends ObjectReference {
  readonly packs: readonly ObjectReference[]
}

/** Stores index objects as soon as they are full, so that few blobs are in memory. A pack is never divided. */
export class IndexWriter {
  readonly #repository: Repository
  readonly #store: ObjectStore
  readonly #entropy: Entropy
  readonly #written: WrittenIndex[] = []
  #packs: IndexedPack[] = []
  #blobs = 0

  constructor(repository: Repository, store: ObjectStore, entropy: Entropy) {
    this.#repository = repository
    this.#store = store
    this.#entropy = entropy
  }

  /** The pack must be durable. */
  async add(pack: IndexedPack, signal: AbortSignal): Promise<void> {
    if (this.#packs.length > 0 && this.#blobs + pack.blobs.length > indexBlobsMax) await this.#put(signal)
    this.#packs.push(pack)
    this.#blobs += pack.blobs.length
  }

  async finish(signal: AbortSignal): Promise<readonly WrittenIndex[]> {
    if (this.#packs.length > 0) await this.#put(signal)
    return this.#written
  }

  async #put(signal: AbortSignal): Promise<void> {
    const packs = this.#packs
    const { id, bytes, body } = await sealUnpacked(this.#repository.key, encodeIndex(packs), this.#entropy)
    await this.#store.put(objectName('index', id), body, signal)
    this.#packs = []
    this.#blobs = 0
    const references = packs.map(({ id, blobs }) => ({ id, bytes: packBytesOf(blobs) }))
    this.#written.push({ id, bytes, packs: references })
  }
}
