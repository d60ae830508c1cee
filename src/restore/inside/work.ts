import type { Duplex } from 'node:stream'
import type { Milliseconds } from '../../base/brand.ts'
import type { Clock, Entropy } from '../../base/environment.ts'
import { CodedError, reportOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Digest } from '../../base/names.ts'
import { StreamReader } from '../../base/reader.ts'
import { Secret } from '../../base/secret.ts'
import { checkRepository } from '../../repository/check.ts'
import { ChunkSet } from '../../repository/chunk-set.ts'
import type { IndexTable } from '../../repository/index-table.ts'
import {
  type BlobSource,
  fetchIndexTable,
  fetchObject,
  listVolumes,
  readSnapshot,
  type SnapshotVolume,
} from '../../repository/reader.ts'
import { openRepository, type Repository } from '../../repository/repository.ts'
import { readContent, restoreChunks } from '../../repository/restore.ts'
import type { Snapshot } from '../../repository/snapshot.ts'
import { type ObjectStore, objectBytesMax, parseObjectName } from '../../storage/object-store.ts'
import { RestoreError } from '../errors.ts'
import {
  contentChunksMax,
  type Frame,
  type FrameKind,
  faultMessageLengthMax,
  type History,
  parseFrame,
  parseHistory,
  parseTask,
  parseWantedVolume,
  readFrame,
  type Task,
  type Verdict,
} from '../protocol.ts'
import { faultOf } from './fault.ts'
import { FrameWriter } from './frame-writer.ts'

const progressIntervalMilliseconds: Milliseconds = 500

export interface InsidePorts {
  /** Standard input and output. */
  readonly channel: Duplex
  /** Opens the repository that the task's capability is for. */
  readonly storage: (task: Task, signal: AbortSignal) => Promise<ObjectStore & AsyncDisposable>
  readonly clock: Clock
  readonly entropy: Entropy
  /** Where a table of all blobs may be made: a path in a directory of this sandbox. */
  readonly tablePath: string
  readonly log: Log
}

/**
 * The sandbox's whole life: one task, one passphrase, one verdict. Whatever happens, hostile bytes included, ends as a
 * verdict or as the end of this process, which dom0 takes for a failed check.
 */
export async function workInside(ports: InsidePorts): Promise<void> {
  const { channel, storage, clock, log } = ports
  const out = new FrameWriter(channel)
  const signal = new AbortController().signal
  const reader = new StreamReader(channel)
  const task = await received(reader, 'task', frame => parseFrame(frame, parseTask))
  const history = await receivedHistory(reader, task)
  using passphrase = await received(reader, 'passphrase', frame =>
    frame.payload.parse(bytes => Secret.take(bytes)),
  )
  let verdict: Verdict
  try {
    await using store = await storage(task, signal)
    using repository = await openFromStorage(task, store, passphrase, signal)
    const progress = throttled(clock, out)
    verdict =
      task.kind === 'check'
        ? await check(task, history, repository, store, ports, progress, signal)
        : await restore(task, history, repository, store, ports, { reader, out }, signal)
  } catch (error) {
    log.error('the work failed', { error })
    const { code, message } = reportOf(error)
    verdict = { ...nothingProven, fault: { code: codeOf(code), message: `${code}: ${message}` } }
  }
  await out.json('verdict', bounded(verdict))
  await out.end()
}

const nothingProven: Verdict = {
  fault: null,
  objects: 0,
  snapshots: 0,
  bytes: 0,
  ignored: 0,
  proven: null,
}

type Report = (bytesDone: number, bytesTotal: number) => void

async function received<T>(reader: StreamReader, kind: FrameKind, take: (frame: Frame) => T): Promise<T> {
  const frame = await readFrame(reader)
  if (frame?.kind !== kind) throw new RestoreError('VERDICT_INVALID', `expected a ${kind} frame`)
  return take(frame)
}

async function receivedHistory(
  reader: StreamReader,
  { snapshotCount, indexSetCount }: Task,
): Promise<History> {
  const snapshots: History['snapshots'][number][] = []
  const indexSets: History['indexSets'][number][] = []
  while (snapshots.length < snapshotCount || indexSets.length < indexSetCount) {
    const part = await received(reader, 'history', frame => parseFrame(frame, parseHistory))
    snapshots.push(...part.snapshots)
    indexSets.push(...part.indexSets)
  }
  return { snapshots, indexSets }
}

/** Key file and config from storage, by the hashes that the ledger pins. */
async function openFromStorage(
  { keyFile, config }: Task,
  store: ObjectStore,
  passphrase: Secret,
  signal: AbortSignal,
): Promise<Repository> {
  const keyBody = await fetchObject(store, 'keys', keyFile.id, signal)
  const configBody = (await store.get(parseObjectName('config'), 'whole', signal)).parse(bytes => {
    if (bytes.byteLength > objectBytesMax) throw new RestoreError('CHECK_FAILED', 'the config is too large')
    return bytes
  })
  const pinned = { keyFile: keyFile.id, config: config.id }
  return openRepository({ passphrase, keyFile: keyBody, config: configBody, pinned })
}

async function check(
  { keyFile, config, reading }: Task,
  history: History,
  repository: Repository,
  store: ObjectStore,
  { tablePath, entropy }: InsidePorts,
  progress: Report,
  signal: AbortSignal,
): Promise<Verdict> {
  const { snapshots } = history
  if (reading === null) throw new RestoreError('VERDICT_INVALID', 'the task does not say what to read')
  const report = await checkRepository(
    repository,
    store,
    { pinned: { keyFile, config }, ...history },
    { reading, tablePath, entropy },
    ({ bytesDone, bytesTotal }) => progress(bytesDone, bytesTotal),
    signal,
  )
  const { objects, ignored, proven } = report
  const fault = faultOf(history, report)
  const proves = fault === null ? snapshots.length : 0
  return { fault, objects, snapshots: proves, bytes: proven.packs.bytes, ignored, proven }
}

/** dom0 leads: `protocol.ts`. */
async function restore(
  task: Task,
  history: History,
  repository: Repository,
  store: ObjectStore,
  ports: InsidePorts,
  channel: { readonly reader: StreamReader; readonly out: FrameWriter },
  signal: AbortSignal,
): Promise<Verdict> {
  const wanted = history.snapshots.find(one => String(one.snapshot.id) === task.snapshot)
  if (wanted === undefined) throw new RestoreError('VERDICT_INVALID', 'the task has no such snapshot')
  const snapshot = await presentSnapshot(repository, store, wanted.snapshot.id, signal)
  await using table = await indexTableFor(history, wanted.entry, repository, store, ports, signal)
  const source = { repository, store, blobs: table.reader }
  const { volumes, manifestBytes } = await listVolumes(source, snapshot, signal)
  await channel.out.frame('manifest', manifestBytes)
  for (;;) {
    const frame = await readFrame(channel.reader)
    if (frame?.kind === 'finish') return { ...nothingProven, snapshots: 1 }
    if (frame?.kind !== 'volume') throw new RestoreError('VERDICT_INVALID', 'expected a volume frame')
    const { vm, volume } = parseFrame(frame, parseWantedVolume)
    const found = volumes.find(one => one.vm === vm && one.name === volume)
    if (found === undefined) throw new RestoreError('VERDICT_INVALID', 'the manifest has no such volume')
    await sendVolume(source, found, channel, signal)
  }
}

async function sendVolume(
  source: BlobSource,
  volume: SnapshotVolume,
  { reader, out }: { readonly reader: StreamReader; readonly out: FrameWriter },
  signal: AbortSignal,
): Promise<void> {
  const content = await readContent(source, volume, signal)
  for (let from = 0; from < content.length; from += contentChunksMax)
    await out.frame('content', content.packed(from, Math.min(from + contentChunksMax, content.length)))
  const chunks = await received(reader, 'chunks', frame =>
    frame.payload.parse(bytes => ChunkSet.unpack(bytes, content.length)),
  )
  if (chunks === null) throw new RestoreError('VERDICT_INVALID', 'chunks of another volume')
  const sink = { write: (bytes: Uint8Array, offset: number) => out.data(bytes, offset), holdsBytes: true }
  await restoreChunks(source, content, chunks, sink, () => {}, signal)
  await out.frame('volume-end')
}

/**
 * Of the index in force. What came after the snapshot is wanted too, for after a prune its blobs may be in packs that were
 * written later; but a storage that was put back to an older state need not have it.
 */
function indexTableFor(
  { indexSets }: History,
  entry: number,
  repository: Repository,
  store: ObjectStore,
  { tablePath, entropy }: InsidePorts,
  signal: AbortSignal,
): Promise<IndexTable> {
  const needed = new Set<Digest>()
  const later = new Set<Digest>()
  for (const set of indexSets) for (const { id } of set.index) (set.entry <= entry ? needed : later).add(id)
  const each = async (id: Digest, add: () => Promise<void>) => {
    try {
      await add()
    } catch (error) {
      if (needed.has(id) || !isMissing(error)) throw error
    }
  }
  const indexes = [...needed.union(later)]
  return fetchIndexTable(repository, store, indexes, { tablePath, entropy, each }, signal)
}

function isMissing(error: unknown): boolean {
  return error instanceof CodedError && error.kind === 'missing'
}

async function presentSnapshot(
  repository: Repository,
  store: ObjectStore,
  id: string,
  signal: AbortSignal,
): Promise<Snapshot> {
  try {
    return await readSnapshot(repository, store, id, signal)
  } catch (error) {
    if (!isMissing(error)) throw error
    const short = id.slice(0, 12)
    throw new RestoreError('SNAPSHOT_DELETED', `storage lacks snapshot ${short}, which the ledger lists`, {
      cause: error,
    })
  }
}

function bounded(verdict: Verdict): Verdict {
  if (verdict.fault === null) return verdict
  const { code, message } = verdict.fault
  return { ...verdict, fault: { code, message: message.slice(0, faultMessageLengthMax) } }
}

/** The codes that dom0 knows; the rest is a failed check whose own code stands in the message. */
function codeOf(code: string): string {
  if (code === 'VOLUME_DIGEST') return 'RESTORE_DIGEST'
  return code === 'SNAPSHOT_DELETED' ? code : 'CHECK_FAILED'
}

function throttled(clock: Clock, out: FrameWriter): Report {
  let last = Number.NEGATIVE_INFINITY
  return (bytesDone, bytesTotal) => {
    const now = clock.monotonic()
    if (now - last < progressIntervalMilliseconds) return
    last = now
    // A channel that is gone shows at the next frame that is waited for.
    out.json('progress', { bytesDone, bytesTotal }).catch(() => {})
  }
}
