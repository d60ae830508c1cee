import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import type { Milliseconds } from '../../base/brand.ts'
import { KiB } from '../../base/bytes.ts'
import { type Clock, deadline } from '../../base/environment.ts'
import { printable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { BootKernel, BootLimits } from '../boot-machines.ts'
import type { Product, View, Walls } from './bubblewrap.ts'
import { ConsoleWatch } from './console-watch.ts'
import { type Accelerator, inside, qemuBytes, qemuCommand } from './qemu-command.ts'
import { limitResources } from './resource-limits.ts'
import { listenSocket } from './socket.ts'
import { spawnWalled } from './walled-process.ts'

/** What QEMU is made of on Debian and its like, beside itself: libraries, and firmware. No shell, no other program. */
const librariesAndFirmware = [
  '/usr/lib',
  '/usr/lib64',
  '/lib',
  '/lib64',
  '/usr/share/qemu',
  '/usr/share/seabios',
]
const complaintLengthMax = 500
const openFilesMax = 256
/** QMP: what makes QEMU tell of events, and the one that counts here. */
const tellEvents = '{"execute":"qmp_capabilities"}\n'
const writeFailed = '"operation": "write"'
const eventsBytesMax = 64 * KiB
const kvm = { from: '/dev/kvm', write: true, device: true } as const

export interface QemuHost {
  readonly walls: Walls
  readonly product: Product
  /** QEMU for x86-64; absolute. */
  readonly qemu: string
  /** For the sockets of machines that run; a path of at most 60 characters. */
  readonly directory: string
  readonly clock: Clock
  readonly log: Log
}

export interface QemuRun {
  /** Unique on this machine. */
  readonly name: string
  readonly accelerator: Accelerator
  /** Files, in the order of the disks. */
  readonly disks: readonly string[]
  /** The disk that is started from; `null`: none is. */
  readonly start: number | null
  /** `null`: the disk has a boot loader. */
  readonly kernel: BootKernel | null
  readonly limits: BootLimits
  readonly millisecondsMax: Milliseconds
  /** It is over when the first of them is said. */
  readonly words: readonly string[]
}

export type QemuEnd =
  /** The first word was said. */
  | { readonly how: 'word' }
  /** More was said than may be. */
  | { readonly how: 'flood' }
  /** More was to be written than may be. */
  | { readonly how: 'full' }
  | { readonly how: 'late' }
  /** QEMU could not start it. */
  | { readonly how: 'unstarted' }
  /** By itself, with a status as shells have it: 0 when the machine was switched off or reset. */
  | { readonly how: 'ended'; readonly status: number }

export interface QemuResult {
  readonly end: QemuEnd
  /** Which of the words were said, by their index. */
  readonly heard: readonly boolean[]
}

/**
 * One start of one machine: afterwards no process, file or control group of it is left, on every path. Throws `VM_START`, and
 * the signal's reason.
 */
export async function runQemu(host: QemuHost, run: QemuRun, signal: AbortSignal): Promise<QemuResult> {
  signal.throwIfAborted()
  await using cleanup = new AsyncDisposableStack()
  const { limits } = run
  const directory = await mkdtemp(path.join(host.directory, 'boot-'))
  cleanup.defer(() => rm(directory, { recursive: true, force: true }))
  const watch = new ConsoleWatch(run.words, limits.saidBytesMax)
  const events = new ConsoleWatch([writeFailed], eventsBytesMax)
  const socketOf = (name: string) => path.join(directory, path.basename(name))
  for (const listener of [
    await listenSocket(socketOf(inside.channel), socket => watch.listen(socket)),
    await listenSocket(socketOf(inside.monitor), socket => {
      events.listen(socket)
      socket.write(tellEvents)
    }),
  ])
    cleanup.defer(() => listener.close())
  // Files in memory are what it writes.
  const memoryBytesMax = limits.memoryBytes + limits.writtenBytesMax + qemuBytes
  const memory = await limitResources(run.name, { memoryBytesMax }, host.clock)
  cleanup.defer(() => memory.remove())
  const late = new Error('the time is over')
  using stop = deadline(run.millisecondsMax, () => late, signal)
  const machine = await spawnWalled({
    walls: host.walls,
    product: host.product,
    view: viewOf(host, run, directory),
    command: qemuCommand({
      program: host.qemu,
      accelerator: run.accelerator,
      disks: run.disks.length,
      start: run.start,
      hasKernel: run.kernel !== null,
      limits,
    }),
    wrapper: [...memory.wrapper, ...processLimits(run)],
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  cleanup.defer(async () => {
    machine.destroy()
    await machine.exited
  })
  const complaint = beginningOf(machine.child.stderr as Readable)
  watch.listen(machine.child.stdout as Readable)
  const ended = async (): Promise<QemuEnd> => {
    const status = await machine.exited
    await watch.ended()
    if (status !== 0 && !isOver)
      host.log.warn('a virtual machine ended badly', { vm: run.name, status, text: complaint() })
    if (watch.hasHeard(0)) return { how: 'word' }
    // The firmware speaks before anything of a disk is read.
    return status !== 0 && watch.isSilent ? { how: 'unstarted' } : { how: 'ended', status }
  }
  const stopped = async (): Promise<QemuEnd> => {
    if (!stop.aborted) await once(stop, 'abort')
    if (stop.reason !== late) throw stop.reason
    return { how: 'late' }
  }
  let isOver = false
  const end = await Promise.race([
    watch.over.then(how => ({ how })),
    events.over.then(() => ({ how: 'full' as const })),
    ended(),
    stopped(),
  ]).finally(() => {
    isOver = true
  })
  return { end, heard: run.words.map((_, index) => watch.hasHeard(index)) }
}

/** Nothing but QEMU, the disks and the kernel, all read-only, and a directory in memory for what the machine writes. */
function viewOf({ walls, qemu }: QemuHost, run: QemuRun, directory: string): View {
  const { kernel } = run
  return {
    vm: run.name,
    only: [...librariesAndFirmware, qemu],
    binds: [
      ...run.disks.map((from, index) => ({ from, to: inside.disk(index), write: false })),
      ...(kernel === null ? [] : [{ from: kernel.kernel, to: inside.kernel, write: false }]),
      ...(kernel === null ? [] : [{ from: kernel.initramfs, to: inside.initramfs, write: false }]),
      { from: directory, to: path.dirname(inside.channel), write: false },
      ...(run.accelerator === 'kvm' ? [kvm] : []),
    ],
    network: false,
    environment: { TMPDIR: inside.overlays },
    disableUserns: walls.disableUserns,
  }
}

/** Each disk may take an equal part of what may be written: QEMU keeps it in one file a disk. */
function processLimits({ disks, limits, millisecondsMax }: QemuRun): readonly string[] {
  const fileBytesMax = Math.floor(limits.writtenBytesMax / Math.max(1, disks.length))
  // One thread for the machine's processor, one for its devices.
  const seconds = Math.ceil(millisecondsMax / 1000) * 2
  return ['prlimit', `--fsize=${fileBytesMax}`, `--cpu=${seconds}`, `--nofile=${openFilesMax}`, '--']
}

/** Reads all, so that nobody waits, and keeps the first few words. */
function beginningOf(stream: Readable): () => string {
  let text = ''
  stream.on('data', (part: Uint8Array) => {
    if (text.length < complaintLengthMax) text += Buffer.from(part).toString('latin1')
  })
  stream.on('error', () => {})
  return () => printable(text.slice(0, complaintLengthMax)).trim()
}
