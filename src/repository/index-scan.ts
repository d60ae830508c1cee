import { FieldNames, JsonScanner } from '../base/json-scanner.ts'
import { BlobRecords } from './blob-records.ts'
import { blobIdLength, indexBytesMax, packBytesMax } from './format.ts'
import { checkBlobLengths } from './pack.ts'
import { parseFormat } from './shape.ts'

/* The JSON of an index without an object for every blob: an index of 50 000 blobs has 7 MB. */

/** More than any file of stock restic holds; the bytes are bounded too. */
const packsMax = 200_000
const blobsMax = 1_000_000

export interface ScannedPack {
  readonly id: Uint8Array
  /** Its blobs: which of `records`. */
  readonly first: number
  readonly count: number
}

export interface ScannedIndex {
  readonly packs: readonly ScannedPack[]
  /** The number of a pack in them is its place in `packs`. */
  readonly records: BlobRecords
}

const indexNames = new FieldNames(['packs'])
const packNames = new FieldNames(['id', 'blobs'])
const blobNames = new FieldNames(['id', 'type', 'offset', 'length'], ['uncompressed_length'])
const uncompressedLengthBit = 1 << 4
const types = new FieldNames(['data', 'tree'])

/**
 * `records` are cleared first. Throws `REPOSITORY_FORMAT` and `REPOSITORY_LIMIT`. A snapshot put in the place of an index has no
 * `packs`, and is refused.
 */
export function scanIndex(untrustedPlaintext: Uint8Array, records = new BlobRecords()): ScannedIndex {
  records.clear()
  return parseFormat('an index', () => new IndexScan(untrustedPlaintext, records).run())
}

class IndexScan {
  readonly #json: JsonScanner
  readonly #packs: ScannedPack[] = []
  readonly #records: BlobRecords
  #packId = new Uint8Array(blobIdLength)
  readonly #blob = { id: new Uint8Array(blobIdLength), type: 0, offset: 0, length: 0, uncompressedLength: 0 }

  constructor(untrustedPlaintext: Uint8Array, records: BlobRecords) {
    this.#records = records
    this.#json = new JsonScanner(untrustedPlaintext, { bytesMax: indexBytesMax })
  }

  run(): ScannedIndex {
    this.#json.object(indexNames, () => this.#json.array(this.#packItem, packsMax))
    this.#json.end()
    return { packs: this.#packs, records: this.#records }
  }

  readonly #packItem = (): void => {
    const first = this.#records.count
    this.#json.object(packNames, this.#packField)
    this.#packs.push({ id: this.#packId, first, count: this.#records.count - first })
    this.#packId = new Uint8Array(blobIdLength)
  }

  readonly #packField = (name: number): void => {
    if (name === 0) this.#json.hex(this.#packId, 0, blobIdLength)
    else this.#json.array(this.#blobItem, blobsMax)
  }

  readonly #blobItem = (): void => {
    const blob = this.#blob
    blob.uncompressedLength = 0
    const found = this.#json.object(blobNames, this.#blobField)
    const { id, offset, length, uncompressedLength } = blob
    const type = blob.type === 1 ? 'tree' : 'data'
    checkBlobLengths(type, length, uncompressedLength, (found & uncompressedLengthBit) !== 0)
    this.#records.push(id, this.#packs.length, type, offset, length, uncompressedLength)
  }

  readonly #blobField = (name: number): void => {
    const blob = this.#blob
    if (name === 0) this.#json.hex(blob.id, 0, blobIdLength)
    else if (name === 1) blob.type = this.#json.oneOf(types)
    else if (name === 2) blob.offset = this.#json.integer(packBytesMax)
    else if (name === 3) blob.length = this.#json.integer(packBytesMax)
    else blob.uncompressedLength = this.#json.integer(packBytesMax)
  }
}
