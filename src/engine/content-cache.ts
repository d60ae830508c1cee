import { createSecretKey } from 'node:crypto'
import { rm, unlink } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { parseSnapshotId, type SnapshotId, type VmName } from '../base/names.ts'
import { Secret } from '../base/secret.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { gmacKeyLength, gmacLength } from '../crypto/gmac.ts'
import type { VolumeState } from '../host/volumes.ts'
import { type ContentMap, unpackContent } from '../repository/content-map.ts'
import { Fingerprints } from '../repository/fingerprints.ts'
import { blobBytesMax, chunkBytesMin, volumeBytesMax } from '../repository/format.ts'
import type { EarlierContent } from '../repository/volume-plan.ts'

/*
 * What the last backup found in each volume, and the state of the volume then: what the host says is unchanged since is not
 * read again, and what has the same fingerprint is not hashed again. One file a volume, sealed with the repository's key: u32le
 * length of a JSON header, the header, the key of the fingerprints (32), a fingerprint a chunk, the content.
 * It speaks of one snapshot; when the ledger no longer has that one, its blobs may be gone, and the record is not used.
 */

const headerBytesMax = 16 * 1024
/** A volume of the largest size in chunks of 1 MiB, or as many smaller ones. */
const fileBytesMax = 96 * 1024 * 1024
const stateLengthMax = 4096

const parseHeader = fields('content', {
  snapshot: is.name(parseSnapshotId),
  volumeBytes: is.integer(0, volumeBytesMax),
  chunkBytes: is.integer(chunkBytesMin, blobBytesMax.data),
  state: is.nullable(fields('state', { source: is.string(stateLengthMax), mark: is.string(stateLengthMax) })),
  turn: is.integer(0),
})

export interface FoundContent {
  readonly content: ContentMap
  readonly fingerprints: Fingerprints
  readonly state: VolumeState | null
  readonly turn: number
}

export class ContentCache {
  readonly #directory: string
  readonly #key: RepositoryKey
  readonly #entropy: Entropy

  constructor(directory: string, key: RepositoryKey, entropy: Entropy) {
    this.#directory = path.join(directory, 'content')
    this.#key = key
    this.#entropy = entropy
  }

  /** `null` when nothing is known, or what is there is damaged, of another key, or of a snapshot that is not current. */
  async load(
    vm: VmName,
    volume: string,
    isCurrent: (snapshot: SnapshotId) => boolean,
  ): Promise<EarlierContent | null> {
    try {
      const untrustedBytes = await readBounded(this.#file(vm, volume), fileBytesMax)
      const found = untrustedBytes?.parse(bytes => this.#open(bytes)) ?? null
      return found !== null && isCurrent(found.snapshot) ? found : null
    } catch {
      // Only time is lost: the volume is read.
      return null
    }
  }

  async save(vm: VmName, volume: string, snapshot: SnapshotId, found: FoundContent): Promise<void> {
    const { content, fingerprints, state, turn } = found
    const { volumeBytes, chunkBytes } = content
    const header = utf8(JSON.stringify({ snapshot, volumeBytes, chunkBytes, state, turn }))
    const length = Buffer.alloc(4)
    length.writeUInt32LE(header.byteLength)
    const file = this.#file(vm, volume)
    await makePrivateDirectory(path.dirname(file))
    const key = fingerprints.key.export()
    const plain = Buffer.concat([length, header, key, fingerprints.packed(), content.packed()])
    key.fill(0)
    const sealed = this.#key.seal(plain, this.#entropy)
    plain.fill(0)
    await writeDurably(file, sealed)
  }

  /** The volume is read as a whole by the next backup. */
  async forget(vm: VmName, volume: string): Promise<void> {
    await unlink(this.#file(vm, volume)).catch(ignoreMissing)
  }

  /** So are all. */
  async clear(): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }

  #open(untrustedBytes: Uint8Array): EarlierContent & { readonly snapshot: SnapshotId } {
    const plain = this.#key.open(untrustedBytes)
    const headerEnd = 4 + new DataView(plain.buffer, plain.byteOffset).getUint32(0, true)
    const { snapshot, volumeBytes, chunkBytes, state, turn } = parseHeader(
      parseJson(plain.subarray(4, headerEnd), { bytesMax: headerBytesMax }),
    )
    const tagsAt = headerEnd + gmacKeyLength
    const contentAt = tagsAt + Math.ceil(volumeBytes / chunkBytes) * gmacLength
    using key = Secret.take(plain.subarray(headerEnd, tagsAt))
    const content = unpackContent(plain.subarray(contentAt), volumeBytes, chunkBytes)
    const fingerprints = Fingerprints.of(content.length, key.expose(createSecretKey))
    fingerprints.unpack(plain.subarray(tagsAt, contentAt))
    return { snapshot, state, turn, content, fingerprints }
  }

  #file(vm: VmName, volume: string): string {
    return path.join(this.#directory, vm, `${volume}.chunks`)
  }
}
