import { toHex } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import type { BlobType } from './format.ts'

/*
 * Which blobs there are, and where: 48 bytes a blob and 8 to 16 of a hash table, where a Map of strings takes 200. A volume of
 * 1 TiB has up to 4 million blobs. Entries lie in blocks that never move; the hash table holds their numbers and is
 * open-addressed by the first word of the id, which is as good as random.
 */

/** Id (8 words), pack and type, offset, length, uncompressed length. */
const wordsPerEntry = 12
const packWord = 8
const offsetWord = 9
const lengthWord = 10
const uncompressedWord = 11
const entriesPerBlock = 1 << 15
const slotsAtFirst = 1 << 12
/** The table doubles when it is fuller than this. */
const loadMax = 0.5
/** In `packWord`: claimed by a writer, not in a pack yet. */
const unplaced = 0x7fffffff

export interface BlobLocation {
  /** Number of the pack in this table, for `packId`. */
  readonly pack: number
  /** Of the sealed blob in its pack. */
  readonly offset: number
  /** Of the sealed blob. */
  readonly length: number
  /** Of the plaintext; 0 when the blob is stored as it is. */
  readonly uncompressedLength: number
}

export class BlobTable {
  readonly #blocks: Uint32Array[] = []
  readonly #packs: (Digest | null)[] = []
  #slots = new Uint32Array(slotsAtFirst)
  #size = 0

  /** How many blobs are known. Their entry numbers are 0 to `size - 1`, in the order in which they were added. */
  get size(): number {
    return this.#size
  }

  /** How many packs are known. Their numbers are 0 to `packCount - 1`. */
  get packCount(): number {
    return this.#packs.length
  }

  /** Entry number, or -1. */
  find(type: BlobType, id: Uint8Array): number {
    const words = wordsOf(id)
    for (let slot = this.#firstSlot(words[0] ?? 0); ; slot = (slot + 1) & (this.#slots.length - 1)) {
      const entry = (this.#slots[slot] ?? 0) - 1
      if (entry < 0) return -1
      if (this.#is(entry, type, words)) return entry
    }
  }

  /** A new entry without a place, for a blob that `find` does not know. */
  claim(type: BlobType, id: Uint8Array): number {
    const entry = this.#size
    if (entry % entriesPerBlock === 0) this.#blocks.push(new Uint32Array(entriesPerBlock * wordsPerEntry))
    this.#size += 1
    const block = this.#block(entry)
    const at = wordAt(entry)
    block.set(wordsOf(id), at)
    block[at + packWord] = (unplaced << 1) | typeBit(type)
    if (this.#size > this.#slots.length * loadMax) this.#rehash()
    else this.#insert(entry)
    return entry
  }

  place(entry: number, { pack, offset, length, uncompressedLength }: BlobLocation): void {
    const block = this.#block(entry)
    const at = wordAt(entry)
    block[at + packWord] = (pack << 1) | ((block[at + packWord] ?? 0) & 1)
    block[at + offsetWord] = offset
    block[at + lengthWord] = length
    block[at + uncompressedWord] = uncompressedLength
  }

  /** `null` for an entry that is claimed and has no place yet. */
  location(entry: number): BlobLocation | null {
    const block = this.#block(entry)
    const at = wordAt(entry)
    const pack = (block[at + packWord] ?? 0) >>> 1
    if (pack === unplaced) return null
    return {
      pack,
      offset: block[at + offsetWord] ?? 0,
      length: block[at + lengthWord] ?? 0,
      uncompressedLength: block[at + uncompressedWord] ?? 0,
    }
  }

  type(entry: number): BlobType {
    return ((this.#block(entry)[wordAt(entry) + packWord] ?? 0) & 1) === 1 ? 'tree' : 'data'
  }

  id(entry: number): Uint8Array {
    const at = wordAt(entry)
    const id = new Uint8Array(packWord * 4)
    const bytes = new DataView(id.buffer)
    const block = this.#block(entry)
    for (let word = 0; word < packWord; word++) bytes.setUint32(4 * word, block[at + word] ?? 0, true)
    return id
  }

  idHex(entry: number): string {
    return toHex(this.id(entry))
  }

  /** Numbers a pack. `null`: its id is its hash and not known before it is full; `namePack` follows. */
  addPack(id: Digest | null): number {
    this.#packs.push(id)
    return this.#packs.length - 1
  }

  namePack(pack: number, id: Digest): void {
    this.#packs[pack] = id
  }

  /** Of all packs that have one. */
  packIds(): ReadonlySet<string> {
    return new Set(this.#packs.filter(id => id !== null))
  }

  packId(pack: number): Digest {
    const id = this.#packs[pack]
    if (id === undefined || id === null) throw new RangeError('the pack has no id yet')
    return id
  }

  #is(entry: number, type: BlobType, words: Uint32Array): boolean {
    const block = this.#block(entry)
    const at = wordAt(entry)
    if (((block[at + packWord] ?? 0) & 1) !== typeBit(type)) return false
    for (let word = 0; word < packWord; word++) if (block[at + word] !== words[word]) return false
    return true
  }

  #insert(entry: number): void {
    let slot = this.#firstSlot(this.#block(entry)[wordAt(entry)] ?? 0)
    while (this.#slots[slot] !== 0) slot = (slot + 1) & (this.#slots.length - 1)
    this.#slots[slot] = entry + 1
  }

  #rehash(): void {
    this.#slots = new Uint32Array(2 * this.#slots.length)
    for (let entry = 0; entry < this.#size; entry++) this.#insert(entry)
  }

  #firstSlot(word: number): number {
    return word & (this.#slots.length - 1)
  }

  #block(entry: number): Uint32Array {
    const block = this.#blocks[Math.floor(entry / entriesPerBlock)]
    if (block === undefined || entry >= this.#size) throw new RangeError('no blob of this number')
    return block
  }
}

function wordAt(entry: number): number {
  return (entry % entriesPerBlock) * wordsPerEntry
}

function typeBit(type: BlobType): 0 | 1 {
  return type === 'tree' ? 1 : 0
}

function wordsOf(id: Uint8Array): Uint32Array {
  const bytes = new DataView(id.buffer, id.byteOffset, id.byteLength)
  const words = new Uint32Array(packWord)
  for (let word = 0; word < packWord; word++) words[word] = bytes.getUint32(4 * word, true)
  return words
}
