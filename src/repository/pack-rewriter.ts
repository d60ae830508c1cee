import { fromHex } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { release } from '../base/memory.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { type BlobType, blobIdLength, type ObjectReference } from './format.ts'
import type { IndexedPack } from './index.ts'
import { PackBuilder, type PackedBlob } from './pack.ts'
import { fetchObject } from './reader.ts'
import type { Repository } from './repository.ts'

interface OpenPack {
  readonly builder: PackBuilder
  readonly blobs: PackedBlob[]
  /** Old packs that have blobs in it. */
  readonly sources: Set<IndexedPack>
}

/**
 * Copies blobs out of packs into new ones of their type, as they are sealed: nothing is opened. The old pack is fetched
 * whole and must have the hash that its index names, so the storage cannot choose what is carried over.
 */
export class PackRewriter {
  readonly #repository: Repository
  readonly #store: ObjectStore
  readonly #entropy: Entropy
  readonly #open: Record<BlobType, OpenPack | null> = { data: null, tree: null }
  /** Old packs of which not every blob is durable elsewhere. */
  readonly #undone = new Set<IndexedPack>()
  readonly #written: ObjectReference[] = []
  #copying: IndexedPack | null = null
  #ready: IndexedPack[] = []

  constructor(repository: Repository, store: ObjectStore, entropy: Entropy) {
    this.#repository = repository
    this.#store = store
    this.#entropy = entropy
  }

  /** Packs that are durable. */
  get written(): readonly ObjectReference[] {
    return this.#written
  }

  /** Packs that have become durable since this was asked last. */
  takeReady(): readonly IndexedPack[] {
    return this.#ready.splice(0)
  }

  /** Of a store that has no room left, throws what the store throws; `giveUp` then says what has to stay. */
  async copy(pack: IndexedPack, needed: readonly PackedBlob[], signal: AbortSignal): Promise<void> {
    this.#undone.add(pack)
    this.#copying = pack
    const body = await fetchObject(this.#store, 'data', pack.id, signal)
    for (const blob of needed) {
      const sealed = body.subarray(blob.offset, blob.offset + blob.length)
      this.#repository.key.requireGenuine(sealed)
      const open = this.#add(blob, sealed)
      open.sources.add(pack)
      if (open.builder.full) await this.#put(blob.type, signal)
    }
    release(body)
    this.#copying = null
    this.#settle(pack)
  }

  /** Everything that was copied is durable when this resolves. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.#put('data', signal)
    await this.#put('tree', signal)
  }

  /** Throws away what is not stored yet. Answers the old packs that are still needed for it. */
  giveUp(): readonly IndexedPack[] {
    this.#copying = null
    this.#open.data = null
    this.#open.tree = null
    const undone = [...this.#undone]
    this.#undone.clear()
    return undone
  }

  #add(blob: PackedBlob, sealed: Uint8Array): OpenPack {
    const { type, id, uncompressedLength } = blob
    const open = this.#open[type] ?? this.#begin(type)
    const place = open.builder.addSealed(fromHex(id, blobIdLength), sealed, uncompressedLength)
    open.blobs.push({ ...blob, ...place })
    return open
  }

  #begin(type: BlobType): OpenPack {
    const builder = new PackBuilder(type, this.#repository.key, this.#entropy)
    const open = { builder, blobs: [], sources: new Set<IndexedPack>() }
    this.#open[type] = open
    return open
  }

  async #put(type: BlobType, signal: AbortSignal): Promise<void> {
    const open = this.#open[type]
    if (open === null) return
    const { id, bytes, body } = open.builder.finish()
    await this.#store.put(objectName('data', id), body, signal)
    release(body)
    this.#open[type] = null
    this.#written.push({ id, bytes })
    this.#ready.push({ id, blobs: open.blobs })
    for (const source of open.sources) this.#settle(source)
  }

  /** A pack is done when none of its blobs waits in a pack that is open. */
  #settle(pack: IndexedPack): void {
    const waits = Object.values(this.#open).some(open => open?.sources.has(pack))
    if (!waits && pack !== this.#copying) this.#undone.delete(pack)
  }
}
