import type { Duplex } from 'node:stream'
import type { Log } from '../base/log.ts'
import type { JobId, RepositoryName, SnapshotId, VmName } from '../base/names.ts'
import { StreamReader } from '../base/reader.ts'
import { HostError } from '../host/errors.ts'
import type { Sandboxes, SandboxLimits } from '../host/sandboxes.ts'
import type { VolumeSink } from '../host/volumes.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { Examination, Examiner, ReportProgress } from '../repository/examination.ts'
import { RestoreError } from './errors.ts'
import {
  type FrameKind,
  frameHeader,
  jsonPayload,
  parseFrame,
  parseSandboxProgress,
  parseVerdict,
  readFrame,
  type Task,
  type Verdict,
} from './protocol.ts'
import { VolumeReceiver } from './receive.ts'
import { requireGood } from './verdict.ts'

/** A name that opens one repository for reading, until disposed. */
export interface ReadGrant extends AsyncDisposable {
  readonly capability: string
}

export interface ExaminerPorts {
  readonly sandboxes: Sandboxes
  readonly grant: (storageVm: VmName, repository: RepositoryName, signal: AbortSignal) => Promise<ReadGrant>
  /** Where the volumes of one restore go; a new one for each. */
  readonly sink: (job: JobId) => VolumeSink
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
export function sandboxedExaminer(ports: ExaminerPorts): Examiner {
  return {
    async check(examination, readData, progress, signal) {
      const task = taskOf(examination, { kind: 'check', readData, snapshot: null })
      const verdict = await inSandbox(ports, examination, task, null, progress, signal)
      requireGood(verdict, task.snapshots.length, ports.log)
      return outcomeOf(verdict)
    },
    async restore(examination, snapshot, progress, signal) {
      const task = taskOf(examination, { kind: 'restore', readData: true, snapshot })
      const wanted = examination.history.snapshots.find(one => one.snapshotId === snapshot)
      if (wanted === undefined) throw new RestoreError('VERDICT_INVALID', 'the ledger has no such snapshot')
      await ports.requireRoom()
      await using sink = ports.sink(examination.job)
      const receiver = new VolumeReceiver(sink, wanted, signal)
      const verdict = await inSandbox(ports, examination, task, receiver, progress, signal)
      requireGood(verdict, 1, ports.log)
      const { volumes, bytes } = await receiver.commit()
      return { ...outcomeOf(verdict), snapshot, volumes, bytes, objects: undefined, snapshots: undefined }
    },
  }
}

async function inSandbox(
  ports: ExaminerPorts,
  { job, storageVm, repository, passphrase }: Examination,
  task: Omit<Task, 'capability'>,
  receiver: VolumeReceiver | null,
  progress: ReportProgress,
  signal: AbortSignal,
): Promise<Verdict> {
  await using grant = await ports.grant(storageVm, repository, signal)
  await using sandbox = await ports.sandboxes.start(job, ports.limits, signal)
  signal.throwIfAborted()
  const stop = () => sandbox.channel.destroy(signal.reason instanceof Error ? signal.reason : undefined)
  signal.addEventListener('abort', stop, { once: true })
  sandbox.channel.on('error', () => {})
  try {
    send(sandbox.channel, 'task', jsonPayload({ ...task, capability: grant.capability }))
    // The writing half stays open: where the host starts the sandbox, its end means that dom0 has gone.
    passphrase.expose(bytes => send(sandbox.channel, 'passphrase', bytes))
    return await listen(new StreamReader(sandbox.channel), task.kind, receiver, progress)
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
  kind: Task['kind'],
  receiver: VolumeReceiver | null,
  report: ReportProgress,
): Promise<Verdict> {
  for (;;) {
    const frame = await readFrame(reader)
    if (frame === null) throw new RestoreError('VERDICT_INVALID', 'the sandbox ended without a verdict')
    if (frame.kind === 'verdict') return parseFrame(frame, parseVerdict)
    if (frame.kind === 'progress') {
      const { bytesDone, bytesTotal } = parseFrame(frame, parseSandboxProgress)
      report({ phase: kind === 'check' ? 'checking' : 'restoring', bytesDone, bytesTotal, bytesStored: 0 })
    } else if (receiver === null)
      throw new RestoreError('VERDICT_INVALID', `a ${frame.kind} frame in a check`)
    else await receiver.take(frame)
  }
}

function taskOf(
  { job, storageVm, repository, history }: Examination,
  wanted: { kind: Task['kind']; readData: boolean; snapshot: SnapshotId | null },
): Omit<Task, 'capability'> {
  return {
    ...wanted,
    job,
    storageVm,
    repository,
    keyFile: history.keyFile,
    config: history.config,
    snapshots: history.snapshots.map(({ entry, snapshot, manifest }) => ({ entry, snapshot, manifest })),
    indexSets: history.indexSets,
  }
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
  }
}

/** The passphrase is copied into the stream's buffer and nowhere else in this process. */
function send(channel: Duplex, kind: FrameKind, payload: Uint8Array): void {
  channel.write(frameHeader(kind, payload.byteLength))
  channel.write(Uint8Array.from(payload))
}
