import { BaseError } from '../base/base-errors.ts'
import { toHex } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import type { Digest, VmName } from '../base/names.ts'
import { Sha256, sha256Hex } from '../crypto/digest.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { BlobIds } from './blob-ids.ts'
import type { BlobTable } from './blob-table.ts'
import { BlobWriter } from './blob-writer.ts'
import { isZero } from './chunker.ts'
import { RepositoryError } from './errors.ts'
import {
  chunkBytesFor,
  type ObjectReference,
  type StoredObject,
  volumeBytesMax,
  zeroBlobBytes,
} from './format.ts'
import { encodeIndex, groupForIndexes } from './index.ts'
import { eventLoopTurn } from './lanes.ts'
import { encodeManifest, manifestName } from './manifest.ts'
import { type PacksSummary, summarisePacks } from './packs-root.ts'
import { type BackupVolume, BufferPool, type LoadedSegment, readAhead, segmentBytes } from './read-ahead.ts'
import type { Repository } from './repository.ts'
import { encodeSnapshot, imageSuffix, volumesDirectory } from './snapshot.ts'
import { type DirectoryNode, encodeTree, type FileNode } from './tree.ts'
import { sealUnpacked } from './unpacked.ts'

/*
 * One backup. The order of writing is the format's: packs, then index, then snapshot, each durable before the next, so
 * that a crash leaves packs that nobody names, and never a snapshot that lies.
 */

export interface WriterOptions extends Environment {
  /** How many packs are on their way to the storage at once; each has 16 MiB. */
  readonly concurrency: number
}

/** A volume that is in the repository, though in no snapshot yet. */
export interface VolumeResult {
  readonly name: string
  readonly bytes: number
  /** Of the whole volume, zeros included. */
  readonly sha256: Digest
  readonly content: BlobIds
}

export interface WriteProgress {
  /** Of this volume, holes included. */
  readonly bytesDone: number
  /** Of all packs of this backup. */
  readonly bytesStored: number
}

export interface VmResult {
  readonly name: VmName
  readonly volumes: readonly VolumeResult[]
}

export interface BackupResult {
  readonly snapshot: StoredObject
  readonly index: readonly StoredObject[]
  readonly packs: readonly ObjectReference[]
  readonly packsSummary: PacksSummary
  /** Id of the root tree, 64 hex digits. */
  readonly tree: string
  /** SHA-256 of the manifest. */
  readonly manifest: Digest
  /** All objects of this backup together. */
  readonly bytesStored: number
}

const volumeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$/

/** How much of a hole is hashed before others have their turn. */
const holeBytesPerTurn = 64 * segmentBytes
const zeros = new Uint8Array(zeroBlobBytes)

/**
 * `addVolume` one after another, then `prepare`, `finish` or `abort`; an error is an `abort`. The table of known blobs
 * belongs to the writer from here on: after an abort it names blobs that are in no index, and must be thrown away.
 */
export class BackupWriter {
  readonly #repository: Repository
  readonly #store: ObjectStore
  readonly #options: WriterOptions
  readonly #blobs: BlobWriter
  readonly #buffers = new BufferPool()
  #ended = false

  constructor(repository: Repository, store: ObjectStore, known: BlobTable, options: WriterOptions) {
    this.#repository = repository
    this.#store = store
    this.#options = options
    const { entropy, concurrency } = options
    this.#blobs = new BlobWriter({ repository, store, table: known, entropy, concurrency })
  }

  /** Reads a volume once and stores the chunks that are not known. */
  async addVolume(
    volume: BackupVolume,
    onProgress: (progress: WriteProgress) => void,
    signal: AbortSignal,
  ): Promise<VolumeResult> {
    return this.#during(signal, async () => {
      checkVolume(volume)
      const chunkBytes = chunkBytesFor(volume.bytes)
      const content = new ContentBuilder(this.#blobs)
      const digest = new Sha256()
      for await (const segment of readAhead(volume, chunkBytes, this.#buffers, signal)) {
        try {
          await this.#addSegment(segment, chunkBytes, content, digest)
        } finally {
          segment.release()
        }
        const bytesDone = segment.offset + segment.length
        if (segment.bytes === null && bytesDone % holeBytesPerTurn < segmentBytes) await eventLoopTurn()
        onProgress({ bytesDone, bytesStored: this.#blobs.bytesStored })
      }
      content.endZeros()
      return { name: volume.name, bytes: volume.bytes, sha256: digest.finish(), content: content.ids }
    })
  }

  /**
   * Stores everything but the snapshot, which is returned sealed: putting it is what makes the backup visible, and
   * is left to whoever records that moment.
   */
  async prepare(
    backup: { readonly vms: readonly VmResult[]; readonly time: Date; readonly tags: readonly string[] },
    signal: AbortSignal,
  ): Promise<BackupResult> {
    return this.#during(signal, async () => {
      const { tree, manifest } = await this.#addTrees(backup.vms)
      await this.#blobs.flush()
      const index: StoredObject[] = []
      for (const group of groupForIndexes(this.#blobs.indexed()))
        index.push(await this.#putIndex(encodeIndex(group), signal))
      const { time, tags } = backup
      const { key } = this.#repository
      const snapshot = await sealUnpacked(key, encodeSnapshot({ time, tree, tags }), this.#options.entropy)
      this.#ended = true
      const packs = this.#blobs.written.map(({ id, bytes }) => ({ id, bytes }))
      const bytesStored = [...packs, ...index, snapshot].reduce((sum, { bytes }) => sum + bytes, 0)
      return { snapshot, index, packs, packsSummary: summarisePacks(packs), tree, manifest, bytesStored }
    })
  }

  /** `prepare`, and puts the snapshot. */
  async finish(
    backup: { readonly vms: readonly VmResult[]; readonly time: Date; readonly tags: readonly string[] },
    signal: AbortSignal,
  ): Promise<BackupResult> {
    const result = await this.prepare(backup, signal)
    const { id, body } = result.snapshot
    await this.#store.put(objectName('snapshots', id), body, signal)
    return result
  }

  /** Leaves at most packs that no index names. Resolves when nothing is under way; may be called at any time. */
  async abort(): Promise<void> {
    this.#ended = true
    await this.#blobs.abort(new BaseError('CANCELLED', 'the backup was stopped'))
  }

  async #addSegment(
    segment: LoadedSegment,
    chunkBytes: number,
    content: ContentBuilder,
    digest: Sha256,
  ): Promise<void> {
    if (segment.bytes === null) {
      for (let at = 0; at < segment.length; at += zeros.byteLength)
        digest.update(zeros.subarray(0, Math.min(zeros.byteLength, segment.length - at)))
      content.addZeros(segment.length)
      return
    }
    digest.update(segment.bytes)
    for (let at = 0; at < segment.length; at += chunkBytes) {
      await this.#blobs.room()
      content.addChunk(segment.bytes.subarray(at, at + chunkBytes), segment)
    }
  }

  /** `volumes/<vm>/<volume>.img` and `volumes/manifest.json`. */
  async #addTrees(vms: readonly VmResult[]): Promise<{ tree: string; manifest: Digest }> {
    const nodes: (DirectoryNode | FileNode)[] = []
    for (const { name, volumes } of vms) {
      const files = volumes.map(({ name, bytes, content }) => ({
        type: 'file' as const,
        name: name + imageSuffix,
        bytes,
        content,
      }))
      nodes.push({ type: 'dir', name, subtree: await this.#addTree(files) })
    }
    const manifest = encodeManifest(
      vms.map(({ name, volumes }) => ({
        name,
        volumes: volumes.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
      })),
      this.#options.entropy,
    )
    const content = new BlobIds()
    content.push(this.#blobs.add('data', manifest))
    nodes.push({ type: 'file', name: manifestName, bytes: manifest.byteLength, content })
    const subtree = await this.#addTree(nodes)
    const tree = await this.#addTree([{ type: 'dir', name: volumesDirectory, subtree }])
    return { tree, manifest: sha256Hex(manifest) }
  }

  async #addTree(nodes: readonly (DirectoryNode | FileNode)[]): Promise<string> {
    await this.#blobs.room()
    return toHex(this.#blobs.add('tree', encodeTree(nodes)))
  }

  async #putIndex(plaintext: Uint8Array, signal: AbortSignal): Promise<StoredObject> {
    const object = await sealUnpacked(this.#repository.key, plaintext, this.#options.entropy)
    await this.#store.put(objectName('index', object.id), object.body, signal)
    return object
  }

  /** Any failure ends the writer: its table already names blobs that may never be stored. */
  async #during<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#ended) throw new RepositoryError('WRITER_ENDED', 'the backup has ended or failed before')
    signal.throwIfAborted()
    const stop = () => void this.#blobs.abort(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    try {
      return await work()
    } catch (error) {
      await this.abort()
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

/** Chunks in order; every run of zeros as restic's zero blob, repeated, and a shorter one for the remainder. */
class ContentBuilder {
  readonly ids = new BlobIds()
  readonly #blobs: BlobWriter
  #zeroBlob: Uint8Array | null = null
  #zeroBytes = 0

  constructor(blobs: BlobWriter) {
    this.#blobs = blobs
  }

  addChunk(chunk: Uint8Array, hold: LoadedSegment): void {
    if (isZero(chunk)) {
      this.addZeros(chunk.byteLength)
      return
    }
    this.endZeros()
    this.ids.push(this.#blobs.add('data', chunk, hold))
  }

  addZeros(bytes: number): void {
    this.#zeroBytes += bytes
    if (this.#zeroBytes < zeroBlobBytes) return
    this.#zeroBlob ??= this.#blobs.add('data', zeros)
    for (; this.#zeroBytes >= zeroBlobBytes; this.#zeroBytes -= zeroBlobBytes) this.ids.push(this.#zeroBlob)
  }

  endZeros(): void {
    if (this.#zeroBytes > 0) this.ids.push(this.#blobs.add('data', zeros.subarray(0, this.#zeroBytes)))
    this.#zeroBytes = 0
  }
}

function checkVolume({ name, bytes }: BackupVolume): void {
  if (!volumeName.test(name) || !Number.isSafeInteger(bytes) || bytes < 0 || bytes > volumeBytesMax)
    throw new RepositoryError(
      'VOLUME_UNSUITABLE',
      `volume '${printable(name)}' of ${bytes} bytes: at most ${volumeBytesMax}, and a plain name, are supported`,
    )
}
