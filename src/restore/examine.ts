import type { Duplex } from 'node:stream'
import { CodedError } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { JobId, RepositoryName, SnapshotId, VmName } from '../base/names.ts'
import { bytesText } from '../base/quantities.ts'
import { StreamReader } from '../base/reader.ts'
import { type RestoreChoice, wholeSnapshot } from '../base/restore-choice.ts'
import { HostError } from '../host/errors.ts'
import type { Sandboxes, SandboxLimits } from '../host/sandboxes.ts'
import type { VolumeSink } from '../host/volumes.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { Examination, Examiner, ReportProgress, Restorer } from '../repository/examination.ts'
import { RestoreError } from './errors.ts'
import {
  type FrameKind,
  frameHeader,
  historyParts,
  jsonPayload,
  parseFrame,
  parseSandboxProgress,
  parseVerdict,
  readFrame,
  recordedMax,
  type Task,
  type Verdict,
} from './protocol.ts'
import { type Say, VolumeReceiver } from './receive.ts'
import { faultIn, requireGood, requireProven } from './verdict.ts'

/** A name that opens one repository for reading, until disposed. */
export interface ReadGrant extends AsyncDisposable {
  readonly capability: string
}

/** Whose volumes they are, which decides what of earlier restores may be gone on with. */
export interface NewRestore {
  readonly job: JobId
  readonly snapshot: SnapshotId
  readonly choice: RestoreChoice
}

export interface ExaminerPorts {
  readonly sandboxes: Sandboxes
  readonly grant: (storageVm: VmName, repository: RepositoryName, signal: AbortSignal) => Promise<ReadGrant>
  /** Where the volumes of one restore go; a new one for each. */
  readonly sink: (restore: NewRestore) => Promise<VolumeSink>
  /** Throws `RESTORES_KEPT` when no more may be kept: whoever may order restores could fill the disk. */
  readonly requireRoom: () => Promise<void>
  readonly limits: SandboxLimits
  readonly log: Log
}

/**
 * dom0's half of a check or restore: starts a disposable, lends it a read capability and the passphrase, writes what
 * it sends as opaque bytes, and believes only digests that the ledger binds. On every path the capability is revoked
 * and the disposable destroyed.
 */
export function sandboxedExaminer(ports: ExaminerPorts): Examiner & Restorer {
  return {
    async check(examination, reading, progress, signal) {
      const { snapshots, indexSets } = examination.history
      const assignment: Assignment = { kind: 'check', reading, snapshot: null, snapshots, indexSets }
      const verdict = await inSandbox(ports, examination, assignment, null, progress, signal)
      const fault = faultIn(verdict, snapshots.length, ports.log)
      if (fault?.code === 'VERDICT_INVALID') throw fault
      return { fault, proven: requireProven(verdict, reading), outcome: outcomeOf(verdict) }
    },
    async restore(examination, snapshot, choice, progress, signal) {
      await ports.requireRoom()
      await using sink = await ports.sink({ job: examination.job, snapshot, choice })
      try {
        return await restoreInto(ports, sink, examination, snapshot, choice, progress, signal)
      } catch (error) {
        // Nobody can go on where there is no room, and dom0 needs some.
        if (error instanceof CodedError && error.kind === 'full') await sink.discard()
        throw error
      }
    },
    restoreInto: (sink, examination, snapshot, progress, signal) =>
      restoreInto(ports, sink, examination, snapshot, wholeSnapshot, progress, signal),
  }
}

async function restoreInto(
  ports: ExaminerPorts,
  sink: VolumeSink,
  examination: Examination,
  snapshot: SnapshotId,
  choice: RestoreChoice,
  progress: ReportProgress,
  signal: AbortSignal,
): Promise<Outcome> {
  const { snapshots, indexSets } = examination.history
  const entry = snapshots.find(one => one.snapshotId === snapshot)
  if (entry === undefined) throw new RestoreError('VERDICT_INVALID', 'the ledger has no such snapshot')
  const assignment: Assignment = {
    kind: 'restore',
    reading: null,
    snapshot,
    snapshots: [entry],
    indexSets,
  }
  const onProgress = (bytesDone: number, bytesTotal: number) =>
    progress({ phase: 'restoring', bytesDone, bytesTotal, bytesStored: 0 })
  const receiver = new VolumeReceiver({ entry, choice }, { sink, log: ports.log, onProgress }, signal)
  const verdict = await inSandbox(ports, examination, assignment, receiver, progress, signal)
  requireGood(verdict, 1, ports.log)
  return restoredOutcome(snapshot, await receiver.commit())
}

/** What a sandbox is to do, and what of the ledger it needs for that. */
interface Assignment
  extends Pick<Task, 'kind' | 'reading' | 'snapshot'>,
    Pick<RepositoryHistory, 'snapshots' | 'indexSets'> {}

async function inSandbox(
  ports: ExaminerPorts,
  examination: Examination,
  assignment: Assignment,
  receiver: VolumeReceiver | null,
  progress: ReportProgress,
  signal: AbortSignal,
): Promise<Verdict> {
  const { job, storageVm, repository, passphrase } = examination
  requireSendable(assignment)
  await using grant = await ports.grant(storageVm, repository, signal)
  await using sandbox = await ports.sandboxes.start(job, ports.limits, signal)
  signal.throwIfAborted()
  const stop = () => sandbox.channel.destroy(signal.reason instanceof Error ? signal.reason : undefined)
  signal.addEventListener('abort', stop, { once: true })
  sandbox.channel.on('error', () => {})
  try {
    const task = taskOf(examination, assignment, grant.capability)
    send(sandbox.channel, 'task', jsonPayload(task))
    await sendHistory(sandbox.channel, assignment)
    // The writing half stays open: where the host starts the sandbox, its end means that dom0 has gone.
    passphrase.expose(bytes => send(sandbox.channel, 'passphrase', bytes))
    const say: Say = (kind, payload) => send(sandbox.channel, kind, payload)
    return await listen(new StreamReader(sandbox.channel), say, receiver, progress)
  } catch (error) {
    signal.throwIfAborted()
    // A full disk here is no fault of the sandbox.
    if (error instanceof RestoreError || error instanceof HostError) throw error
    throw new RestoreError('VERDICT_INVALID', 'the sandbox gave no verdict', { cause: error })
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

async function listen(
  reader: StreamReader,
  say: Say,
  receiver: VolumeReceiver | null,
  report: ReportProgress,
): Promise<Verdict> {
  for (;;) {
    const frame = await readFrame(reader)
    if (frame === null) throw new RestoreError('VERDICT_INVALID', 'the sandbox ended without a verdict')
    if (frame.kind === 'verdict') return parseFrame(frame, parseVerdict)
    if (receiver !== null) await receiver.take(frame, say)
    else if (frame.kind === 'progress') {
      const { bytesDone, bytesTotal } = parseFrame(frame, parseSandboxProgress)
      report({ phase: 'checking', bytesDone, bytesTotal, bytesStored: 0 })
    } else throw new RestoreError('VERDICT_INVALID', `a ${frame.kind} frame during a check`)
  }
}

function requireSendable({ snapshots, indexSets }: Assignment): void {
  const most = Math.max(snapshots.length, indexSets.length)
  if (most > recordedMax)
    throw new RestoreError(
      'HISTORY_TOO_LONG',
      `the ledger has ${snapshots.length} snapshots and ${indexSets.length} sets of indexes in force; at most ${recordedMax} are examined`,
    )
}

function taskOf(
  { job, storageVm, repository, history: { keyFile, config } }: Examination,
  { kind, reading, snapshot, snapshots, indexSets }: Assignment,
  capability: string,
): Task {
  const counts = { snapshotCount: snapshots.length, indexSetCount: indexSets.length }
  return { kind, reading, snapshot, job, storageVm, capability, repository, keyFile, config, ...counts }
}

/** Part by part, as they are taken: of a long history dom0 holds no second copy. */
async function sendHistory(channel: Duplex, { snapshots, indexSets }: Assignment): Promise<void> {
  for (const part of historyParts({ snapshots, indexSets })) {
    const plain = part.snapshots.map(({ entry, snapshot, manifest }) => ({ entry, snapshot, manifest }))
    send(channel, 'history', jsonPayload({ ...part, snapshots: plain }))
    await drained(channel)
  }
}

async function drained(channel: Duplex): Promise<void> {
  if (!channel.writableNeedDrain || channel.destroyed) return
  const { promise, resolve } = Promise.withResolvers<void>()
  channel.once('drain', resolve).once('close', resolve)
  await promise
  channel.off('drain', resolve).off('close', resolve)
}

function outcomeOf({ objects, snapshots, bytes, ignored }: Verdict): Outcome {
  return {
    snapshot: undefined,
    bytes,
    bytesStored: undefined,
    volumes: undefined,
    warnings: ignored > 0 ? [`${ignored} objects in storage belong to no snapshot`] : [],
    objects,
    snapshots,
    prune: undefined,
    drill: undefined,
  }
}

function restoredOutcome(
  snapshot: SnapshotId,
  { volumes, bytes, bytesReused }: Awaited<ReturnType<VolumeReceiver['commit']>>,
): Outcome {
  return {
    snapshot,
    bytes,
    bytesStored: undefined,
    volumes,
    warnings:
      bytesReused > 0
        ? [`${bytesText(bytesReused)} of an earlier restore were the same, and were not fetched again`]
        : [],
    objects: undefined,
    snapshots: undefined,
    prune: undefined,
    drill: undefined,
  }
}

/** The one copy, which the stream holds, is zeroed as soon as it has left or the channel is gone. */
function send(channel: Duplex, kind: FrameKind, payload: Uint8Array): void {
  const copy = Uint8Array.from(payload)
  channel.write(frameHeader(kind, payload.byteLength))
  channel.write(copy, () => copy.fill(0))
}
