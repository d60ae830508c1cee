import type { Environment } from '../base/environment.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { BackupThreads, stopWork } from './backup-threads.ts'
import { BackupHand } from './backup-work.ts'
import { RecordView } from './blob-records.ts'
import { Claims } from './claims.ts'
import type { IndexTable } from './index-table.ts'
import { eventLoopTurn } from './lanes.ts'
import { pooled } from './nonces.ts'
import type { PackUploads } from './pack-uploads.ts'
import { segmentBytes } from './segments.ts'
import type { ThreadBudget } from './thread-budget.ts'
import type { BackupVolume, VolumePlan } from './volume-plan.ts'
import type { VolumeWork } from './volume-work.ts'

/** Less is done sooner than threads have started. */
const bytesAlone = 16 * segmentBytes
/** Beside the chunks: zero blobs and manifests. */
const claimsBeside = 4096

export interface CrewOptions extends Environment {
  readonly threads: ThreadBudget
  readonly niceness: number
  readonly threadsMax?: number
}

/** Who reads the volumes of one backup: this thread as long as there is little, then all cores. */
export class BackupCrew {
  readonly #key: RepositoryKey
  readonly #uploads: PackUploads
  readonly #known: IndexTable
  readonly #options: CrewOptions
  readonly #hand: BackupHand
  /** Chunks of packs that are adopted, and of this backup. */
  #claims: Claims = Claims.of(claimsBeside)
  #threads: BackupThreads | null = null
  #work: VolumeWork | null = null
  /** Settles when nobody reads. */
  #reading: Promise<void> = Promise.resolve()
  #report: () => void = () => {}
  #bytesAlone = 0
  #stopped = false

  constructor(key: RepositoryKey, known: IndexTable, uploads: PackUploads, options: CrewOptions) {
    this.#key = key
    this.#known = known
    this.#uploads = uploads
    this.#options = options
    for (const { type, records } of uploads.stored)
      if (type === 'data') for (const id of new RecordView(records).ids()) this.#adopt(id)
    this.#hand = new BackupHand(key, pooled(options.entropy), {
      // Others have their turn, and are heard, after every segment.
      progress: async () => {
        await eventLoopTurn()
        this.#report()
      },
      body: async () => undefined,
      put: pack => uploads.put(pack, pack.body),
    })
  }

  #adopt(id: Uint8Array): void {
    if (this.#claims.count === this.#claims.blobsMax)
      this.#claims = this.#claims.grown(2 * this.#claims.blobsMax)
    this.#claims.claim(id)
  }

  /** Stores a blob that is no chunk, unless it is known. */
  store(id: Uint8Array, plaintext: Uint8Array): void {
    if (this.#known.reader.find('data', id) === null && this.#claims.claim(id))
      this.#hand.store(id, plaintext)
  }

  /** Reads the segments of a volume into the content of its plan, and stores the chunks that are new. */
  async read(
    { name, path }: BackupVolume,
    { content, fingerprints, earlier, segments }: VolumePlan,
    onProgress: (bytesRead: number) => void,
  ): Promise<void> {
    const claimsNeeded = this.#claims.count + content.length + claimsBeside
    if (claimsNeeded > this.#claims.blobsMax) this.#claims = this.#claims.grown(claimsNeeded)
    const shared = segments.share()
    const work = {
      name,
      path,
      content: content.share,
      fingerprints: fingerprints.share,
      earlier:
        earlier === null
          ? null
          : { content: earlier.content.share, tags: earlier.fingerprints.share, turn: earlier.turn },
      segments: shared,
      known: this.#known.share(),
      claims: this.#claims.share,
    }
    this.#work = work
    if (this.#stopped) stopWork(work)
    const done = new BigInt64Array(shared.done)
    this.#report = () => onProgress(Number(Atomics.load(done, 0)))
    this.#reading = this.#reader(segments.bytes)(work)
    try {
      await this.#reading
    } finally {
      this.#work = null
    }
    this.#uploads.throwIfFailed()
    this.#report()
  }

  /** No further segment is read. */
  stop(): void {
    this.#stopped = true
    if (this.#work !== null) stopWork(this.#work)
    this.#threads?.release()
  }

  /** Hands over the packs that are open, unless it was stopped, and ends the threads. */
  async end(): Promise<void> {
    await this.endThreads()
    if (!this.#stopped) this.#hand.flush()
  }

  /** Leaves their memory to what comes after reading; others are started if more is read. */
  async endThreads(): Promise<void> {
    const threads = this.#threads
    this.#threads = null
    // A thread that ends zeroes its key, which it may still seal with; whoever reads is told of a failure.
    await this.#reading.catch(() => {})
    if (!this.#stopped) await threads?.flush()
    threads?.end()
  }

  #reader(bytes: number): (work: VolumeWork) => Promise<void> {
    this.#bytesAlone += bytes
    if (this.#threads === null && this.#bytesAlone <= bytesAlone) return work => this.#hand.work(work)
    const threads = this.#threads ?? this.#startThreads()
    this.#threads = threads
    return work => threads.volume(work)
  }

  #startThreads(): BackupThreads {
    const threads = new BackupThreads(this.#key, {
      budget: this.#options.threads,
      niceness: this.#options.niceness,
      threadsMax: this.#options.threadsMax,
      onPack: ({ id, bytes, body, records }) =>
        this.#uploads.put({ type: 'data', id, bytes, records }, body.subarray(0, bytes), () =>
          threads.giveBack(body),
        ),
      onProgress: () => this.#report(),
    })
    return threads
  }
}
