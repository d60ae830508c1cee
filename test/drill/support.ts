import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { GiB, MiB } from '../../src/base/bytes.ts'
import type { DrillRules } from '../../src/base/drill-rules.ts'
import { systemClock, systemEntropy } from '../../src/base/environment.ts'
import { parseJson } from '../../src/base/json.ts'
import { type Log, silentLog } from '../../src/base/log.ts'
import { parseJobId, parseVmName, parseVolumeName } from '../../src/base/names.ts'
import { StreamReader } from '../../src/base/reader.ts'
import { type ExaminationOrder, type Examined, examineVolumes } from '../../src/drill/examine.ts'
import { proveLevels } from '../../src/drill/inside/work.ts'
import { examinationTaskBytesMax, parseExaminationTask } from '../../src/drill/protocol.ts'
import { findWalls } from '../../src/host/local/bubblewrap.ts'
import { localVolumeSandboxes } from '../../src/host/local/volume-sandboxes.ts'
import type { Sandboxes, SandboxLimits } from '../../src/host/sandboxes.ts'
import { product } from '../host/local/product.ts'
import { discard, scratch } from '../support/scratch.ts'

export const walls = await findWalls(product, silentLog)
export const job = parseJobId('20261124T031500Z-1f2e3d4c')
export const vm = parseVmName('work')
export const snapshotTime = new Date('2026-11-24T03:15:00Z')
export const never = new AbortController().signal
export const limits: SandboxLimits = { memoryBytesMax: GiB, millisecondsMax: 60_000 }

export const noRules: DrillRules = {
  levels: ['filesystem'],
  withinDays: null,
  files: [],
  boot: null,
  program: null,
}

/** Volumes of the VM `work`, in a directory as dom0 makes one of a job. */
export class Volumes {
  readonly root = scratch('drill')
  readonly names: string[] = []

  constructor() {
    mkdirSync(path.join(this.root, job, vm), { recursive: true })
  }

  file(name: string): string {
    return path.join(this.root, job, vm, `${name}.img`)
  }

  /** A sparse file of that length with `bytes` at its beginning. */
  add(name: string, length: number, bytes: Uint8Array = new Uint8Array()): string {
    const file = this.file(name)
    writeFileSync(file, bytes)
    const handle = openSync(file, 'r+')
    ftruncateSync(handle, length)
    closeSync(handle)
    this.names.push(name)
    return file
  }

  async discard(): Promise<void> {
    await discard(this.root)
  }

  order(change: Partial<ExaminationOrder> = {}): ExaminationOrder {
    const volumes = this.names.map(name => ({
      vm,
      volume: parseVolumeName(name),
      bytes: statSync(this.file(name)).size,
    }))
    return { job, levels: ['filesystem'], rules: noRules, snapshotTime, volumes, ...change }
  }
}

export interface Trial {
  readonly limits?: Partial<SandboxLimits>
  /** In the place of the program inside, as Node's arguments. */
  readonly command?: readonly string[]
  readonly log?: Log
  readonly signal?: AbortSignal
}

export function sandboxesOf(root: string, { command, log = silentLog }: Trial = {}) {
  return localVolumeSandboxes({
    walls,
    product,
    command: command ?? [path.join(product.directory, 'src/main/drill-sandbox.ts')],
    directory: root,
    clock: systemClock,
    entropy: systemEntropy,
    log,
  })
}

/** What looks into volumes, in this process: for volumes that are not hostile, where the walls do not matter. */
function withoutWalls(root: string): Sandboxes {
  return pretended(async there => {
    const line = await new StreamReader(there).until(0x0a, examinationTaskBytesMax)
    const task = parseExaminationTask(parseJson(line, { bytesMax: examinationTaskBytesMax }))
    const ports = { volumes: path.join(root, job), clock: systemClock, log: silentLog }
    there.end(`${JSON.stringify(await proveLevels(task, ports))}\n`)
  })
}

/** A sandbox that is a function of its own end of the channel. */
export function pretended(inside: (there: Duplex) => Promise<void> | void): Sandboxes {
  return {
    async start() {
      const [channel, there] = duplexPair()
      there.on('error', () => {})
      const work = Promise.resolve(inside(there))
      return {
        vm: parseVmName('disp7'),
        channel,
        ended: work.then(() => 0),
        async [Symbol.asyncDispose]() {
          channel.destroy()
          there.destroy()
          await work
        },
      }
    },
  }
}

/** Has the order examined without a sandbox. */
export function examineHere(volumes: Volumes, order: ExaminationOrder): Promise<Examined> {
  return examineVolumes({ sandboxes: withoutWalls(volumes.root), limits, log: silentLog }, order, never)
}

/** Has the order examined in a real sandbox. */
export function examine(volumes: Volumes, order: ExaminationOrder, trial: Trial = {}): Promise<Examined> {
  const { log = silentLog, signal = never } = trial
  const ports = { sandboxes: sandboxesOf(volumes.root, trial), limits: { ...limits, ...trial.limits }, log }
  return examineVolumes(ports, order, signal)
}

/** Runs a program of the system, e.g. one that makes a file system. */
export function run(program: string, ...words: readonly string[]): string {
  return execFileSync(program, words, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', TZ: 'UTC', LC_ALL: 'C' },
  })
}

export const sizes = { ext: 8 * MiB, xfs: 300 * MiB, btrfs: 120 * MiB, fat: 4 * MiB } as const

export function makeFileSystem(kind: keyof typeof sizes, file: string): void {
  if (kind === 'ext') run('mkfs.ext4', '-q', '-F', file)
  if (kind === 'xfs') run('mkfs.xfs', '-q', '-f', file)
  if (kind === 'btrfs') run('mkfs.btrfs', '-q', '-f', file)
  if (kind === 'fat') run('mkfs.fat', file)
}
