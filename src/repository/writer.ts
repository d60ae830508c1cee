import { BaseError } from '../base/base-errors.ts'
import { toHex } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { release } from '../base/memory.ts'
import type { Digest, VmName } from '../base/names.ts'
import { sha256, sha256Hex } from '../crypto/digest.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { BackupCrew } from './backup-crew.ts'
import { BlobIds } from './blob-ids.ts'
import { BlobPacker } from './blob-packer.ts'
import { RecordView } from './blob-records.ts'
import { contentIds } from './content-ids.ts'
import type { ContentMap } from './content-map.ts'
import { RepositoryError } from './errors.ts'
import type { Fingerprints } from './fingerprints.ts'
import {
  type BlobType,
  blobBytesMax,
  chunkBytesFor,
  type ObjectReference,
  type StoredObject,
  volumeBytesMax,
} from './format.ts'
import { encodeIndex, groupForIndexes } from './index.ts'
import type { IndexTable } from './index-table.ts'
import { encodeManifest, manifestName } from './manifest.ts'
import { PackUploads, type StoredPack } from './pack-uploads.ts'
import { type PacksSummary, summarisePacks } from './packs-root.ts'
import type { Repository } from './repository.ts'
import { encodeSnapshot, imageSuffix, volumesDirectory } from './snapshot.ts'
import { ThreadBudget } from './thread-budget.ts'
import { type DirectoryNode, encodeTree, type FileNode } from './tree.ts'
import { sealUnpacked } from './unpacked.ts'
import { type BackupVolume, type EarlierContent, planVolume, requireUnchanged } from './volume-plan.ts'

/*
 * One backup. The order of writing is the format's: packs, then index, then snapshot, each durable before the next, so
 * that a crash leaves packs that nobody names, and never a snapshot that lies.
 */

export interface WriterOptions extends Environment {
  /** How many packs are on their way to the storage at once; each has 16 MiB. */
  readonly concurrency: number
  /** Shared with the other backups of the process; all cores when absent. */
  readonly threads?: ThreadBudget
  /** Of its threads; 0 when absent. */
  readonly niceness?: number
  /** As many as there are, up to 8, when absent. */
  readonly threadsMax?: number
  /** Packs that an interrupted backup left in the storage and that no index names yet. */
  readonly adopted?: readonly StoredPack[]
  /** Called for every pack that is durable, before its blobs count as stored. */
  readonly onStored?: (pack: StoredPack) => Promise<void>
}

/** A volume that is in the repository, though in no snapshot yet. */
export interface VolumeResult {
  readonly name: string
  readonly bytes: number
  readonly chunkBytes: number
  /** As `VolumeDigest` has it. */
  readonly digest: Digest
  readonly content: ContentMap
  readonly fingerprints: Fingerprints
}

export interface WriteProgress {
  /** Of this volume; holes and what is known to be unchanged count as done. */
  readonly bytesDone: number
  /** Of all packs of this backup. */
  readonly bytesStored: number
}

export interface VmResult {
  readonly name: VmName
  readonly volumes: readonly VolumeResult[]
}

export interface BackupContents {
  readonly vms: readonly VmResult[]
  readonly time: Date
  readonly tags: readonly string[]
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

/**
 * `addVolume` one after another, then `prepare`, `finish` or `abort`; an error is an `abort`. `known` stays open until then.
 */
export class BackupWriter {
  readonly #repository: Repository
  readonly #store: ObjectStore
  readonly #options: WriterOptions
  readonly #known: IndexTable
  readonly #uploads: PackUploads
  readonly #crew: BackupCrew
  /** Trees of this backup; other blobs are the crew's. */
  readonly #trees = new Set<string>()
  #treePacker: BlobPacker | null = null
  #ended = false

  constructor(repository: Repository, store: ObjectStore, known: IndexTable, options: WriterOptions) {
    this.#repository = repository
    this.#store = store
    this.#options = options
    this.#known = known
    const {
      concurrency,
      onStored = async () => {},
      adopted = [],
      threads = new ThreadBudget(),
      niceness = 0,
    } = options
    const onFailure = () => this.#crew.stop()
    this.#uploads = new PackUploads({ store, concurrency, onStored, onFailure }, adopted)
    this.#crew = new BackupCrew(repository.key, known, this.#uploads, { ...options, threads, niceness })
    for (const { type, records } of adopted)
      if (type === 'tree') for (const id of new RecordView(records).ids()) this.#trees.add(toHex(id))
  }

  /** Reads what may have changed of a volume and stores the chunks that are not known. */
  async addVolume(
    volume: BackupVolume,
    onProgress: (progress: WriteProgress) => void,
    signal: AbortSignal,
    earlier: EarlierContent | null = null,
  ): Promise<VolumeResult> {
    return this.#during(signal, async () => {
      const { name, bytes } = checkVolume(volume)
      const chunkBytes = chunkBytesFor(bytes)
      const plan = await planVolume(volume, chunkBytes, earlier, this.#options.entropy, signal)
      const { content, fingerprints, segments } = plan
      const before = bytes - segments.bytes
      await this.#crew.read(volume, plan, bytesRead =>
        onProgress({ bytesDone: before + bytesRead, bytesStored: this.#uploads.bytesStored }),
      )
      signal.throwIfAborted()
      requireUnchanged(plan)
      return { name, bytes, chunkBytes, digest: content.digest(), content, fingerprints }
    })
  }

  /**
   * Stores everything but the snapshot, which is returned sealed: putting it is what makes the backup visible, and
   * is left to whoever records that moment.
   */
  async prepare(backup: BackupContents, signal: AbortSignal): Promise<BackupResult> {
    return this.#during(signal, async () => {
      // A tree names every chunk: what reading needed is given back before it is made.
      await this.#crew.endThreads()
      await this.#uploads.idle()
      const { tree, manifest } = this.#addTrees(backup.vms)
      await this.#crew.end()
      this.#flushTrees()
      await this.#uploads.idle()
      const index: StoredObject[] = []
      for (const group of groupForIndexes(this.#uploads.indexed()))
        index.push(await this.#putIndex(encodeIndex(group), signal))
      const { time, tags } = backup
      const { key } = this.#repository
      const snapshot = await sealUnpacked(key, encodeSnapshot({ time, tree, tags }), this.#options.entropy)
      this.#ended = true
      const packs = this.#uploads.stored.map(({ id, bytes }) => ({ id, bytes }))
      const bytesStored = [...index, snapshot].reduce(
        (sum, { bytes }) => sum + bytes,
        this.#uploads.bytesStored,
      )
      return { snapshot, index, packs, packsSummary: summarisePacks(packs), tree, manifest, bytesStored }
    })
  }

  /** `prepare`, and puts the snapshot. */
  async finish(backup: BackupContents, signal: AbortSignal): Promise<BackupResult> {
    const result = await this.prepare(backup, signal)
    const { id, body } = result.snapshot
    await this.#store.put(objectName('snapshots', id), body, signal)
    return result
  }

  /** Leaves at most packs that no index names. Resolves when nothing is under way; may be called at any time. */
  async abort(reason: unknown = new BaseError('CANCELLED', 'the backup was stopped')): Promise<void> {
    this.#ended = true
    this.#crew.stop()
    await this.#uploads.abort(reason)
    await this.#crew.end()
  }

  /** `volumes/<vm>/<volume>.img` and `volumes/manifest.json`. */
  #addTrees(vms: readonly VmResult[]): { tree: string; manifest: Digest } {
    const zeroBlob = remembered(bytes => this.#add('data', new Uint8Array(bytes)))
    const nodes: (DirectoryNode | FileNode)[] = []
    for (const { name, volumes } of vms) {
      const files = volumes.map(({ name, bytes, content }) => ({
        type: 'file' as const,
        name: name + imageSuffix,
        bytes,
        content: contentIds(content, zeroBlob),
      }))
      nodes.push({ type: 'dir', name, subtree: this.#addTree(files) })
    }
    const manifest = encodeManifest(
      vms.map(({ name, volumes }) => ({
        name,
        volumes: volumes.map(({ name, bytes, chunkBytes, digest }) => ({ name, bytes, chunkBytes, digest })),
      })),
      this.#options.entropy,
    )
    const content = new BlobIds()
    content.push(this.#add('data', manifest))
    nodes.push({ type: 'file', name: manifestName, bytes: manifest.byteLength, content })
    const subtree = this.#addTree(nodes)
    const tree = this.#addTree([{ type: 'dir', name: volumesDirectory, subtree }])
    return { tree, manifest: sha256Hex(manifest) }
  }

  #addTree(nodes: readonly (DirectoryNode | FileNode)[]): string {
    const plaintext = encodeTree(nodes)
    const id = toHex(this.#add('tree', plaintext))
    release(plaintext)
    return id
  }

  /** The id of a blob, which is stored unless it is known. */
  #add(type: BlobType, plaintext: Uint8Array): Uint8Array {
    if (plaintext.byteLength > blobBytesMax[type])
      throw new RepositoryError(
        'REPOSITORY_LIMIT',
        `a ${type} blob of ${plaintext.byteLength} bytes; at most ${blobBytesMax[type]} are allowed`,
      )
    const id = sha256(plaintext)
    if (type === 'data') this.#crew.store(id, plaintext)
    else if (this.#known.reader.find(type, id) === null) this.#storeTree(id, plaintext)
    return id
  }

  #storeTree(id: Uint8Array, plaintext: Uint8Array): void {
    const hex = toHex(id)
    if (this.#trees.has(hex)) return
    this.#trees.add(hex)
    const { entropy } = this.#options
    this.#treePacker ??= new BlobPacker({ type: 'tree', key: this.#repository.key, entropy })
    if (this.#treePacker.add(id, plaintext)) this.#flushTrees()
  }

  #flushTrees(): void {
    if (this.#treePacker === null) return
    const pack = this.#treePacker.finish()
    this.#treePacker = null
    this.#uploads.put(pack, pack.body)
  }

  async #putIndex(plaintext: Uint8Array, signal: AbortSignal): Promise<StoredObject> {
    const object = await sealUnpacked(this.#repository.key, plaintext, this.#options.entropy)
    await this.#store.put(objectName('index', object.id), object.body, signal)
    return object
  }

  /** Any failure ends the writer: blobs that were claimed may never be stored. */
  async #during<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#ended) throw new RepositoryError('WRITER_ENDED', 'the backup has ended or failed before')
    signal.throwIfAborted()
    const stop = () => void this.abort(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    try {
      return await work()
    } catch (error) {
      await this.abort(error)
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

/** Asks once for each number. */
function remembered<T>(make: (bytes: number) => T): (bytes: number) => T {
  const made = new Map<number, T>()
  return bytes => {
    let found = made.get(bytes)
    if (found === undefined) {
      found = make(bytes)
      made.set(bytes, found)
    }
    return found
  }
}

function checkVolume(volume: BackupVolume): BackupVolume {
  const { name, bytes } = volume
  if (!volumeName.test(name) || !Number.isSafeInteger(bytes) || bytes < 0 || bytes > volumeBytesMax)
    throw new RepositoryError(
      'VOLUME_UNSUITABLE',
      `volume '${printable(name)}' of ${bytes} bytes: at most ${volumeBytesMax}, and a plain name, are supported`,
    )
  return volume
}
