import { constants, existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { GiB, MiB, toHex } from '../../base/bytes.ts'
import type { LevelResult } from '../../base/drill-levels.ts'
import type { Entropy } from '../../base/environment.ts'
import { readWhole } from '../../base/files.ts'
import type { BootKernel, BootMachines } from '../boot-machines.ts'
import type { RestoredVolume } from '../drill-rooms.ts'
import { HostError } from '../errors.ts'
import { bootSectorBytes, startsByItself } from './boot-loader.ts'
import { type Accelerator, disksMax } from './qemu-command.ts'
import { type QemuHost, type QemuResult, runQemu } from './qemu-run.ts'

/*
 * Level `boot` of a restore drill on the local host: QEMU, behind walls, starts a VM from its restored volumes. What the VM says
 * is looked at for a few words, and kept nowhere.
 */

export const defaultQemu = '/usr/bin/qemu-system-x86_64'

/** The words of `scripts/boot-machine/init.sh`, and of Linux. */
const noInit = 'strongroom: no init'
const nothingToStart = 'strongroom: nothing to start'
const panic = 'Kernel panic'

/** The volume that a VM of Qubes OS starts from; a VM without one starts from its first. */
const rootVolume = 'root'
/** A machine that can run under KVM at all does so by then. */
const trialMilliseconds = 5000
const trialLimits = { memoryBytes: 256 * MiB, writtenBytesMax: MiB, saidBytesMax: MiB }
const memoryBytesMin = 96 * MiB
const memoryBytesMax = 64 * GiB

const [killed, cpuExceeded] = [128 + 9, 128 + 24]

export interface BootOptions extends Omit<QemuHost, 'qemu'> {
  readonly qemu?: string
  /** `null`: only VMs with a boot loader can be started. */
  readonly kernel: BootKernel | null
  readonly entropy: Entropy
}

export function localBootMachines(options: BootOptions): BootMachines {
  const host = { ...options, qemu: options.qemu ?? defaultQemu }
  const accelerator = tried(host)
  return {
    async boot(rule, volumes, limits, signal) {
      signal.throwIfAborted()
      requireMachinery(host)
      if (limits.memoryBytes < memoryBytesMin || limits.memoryBytes > memoryBytesMax)
        throw unavailable(`a virtual machine with ${limits.memoryBytes} bytes of memory cannot be started`)
      const began = host.clock.monotonic()
      const verdict = ([result, message]: Judgement) => ({
        level: 'boot' as const,
        result,
        message,
        milliseconds: Math.round(host.clock.monotonic() - began),
      })
      const disks = volumes.filter(({ vm }) => vm === rule.vm)
      if (disks.length === 0) return verdict(['failed', 'The snapshot has no volume of the VM to start.'])
      if (disks.length > disksMax)
        throw unavailable(`a VM with ${disks.length} volumes; ${disksMax} can be disks`)
      const start = Math.max(
        0,
        disks.findIndex(({ volume }) => volume === rootVolume),
      )
      const sectors = await Promise.all(disks.map(firstSector))
      const kernel = startsByItself(sectors[start] ?? new Uint8Array()) ? null : kernelOf(host)
      const run = {
        name: nameOf(host.entropy),
        accelerator: await accelerator(signal),
        disks: disks.map(({ path }) => path),
        start,
        kernel,
        limits,
        millisecondsMax: rule.secondsMax * 1000,
        words: [rule.marker, panic, noInit],
      }
      host.log.info('starting a virtual machine', { vm: run.name, by: kernel === null ? 'loader' : 'kernel' })
      return verdict(judge(await runQemu(host, run, signal)))
    },
  }
}

type Judgement = readonly [result: LevelResult, message: string]

function judge({ end, heard: [, hasPanicked, hasNoInit] }: QemuResult): Judgement {
  switch (end.how) {
    case 'word':
      return ['passed', 'The VM started, and gave the agreed sign.']
    case 'flood':
      return ['suspicious', 'The VM said more than it may.']
    case 'full':
      return ['suspicious', 'The VM wrote more to its disks than it may.']
    case 'late':
      return ['failed', 'The VM did not give the agreed sign in its time.']
    case 'unstarted':
      throw unavailable('QEMU did not start; what it said is in the log')
    case 'ended':
      break
  }
  switch (end.status) {
    case 0:
      if (hasNoInit) return ['failed', 'No file system of the VM’s root volume holds an init to start.']
      if (hasPanicked) return ['failed', 'The kernel of the VM stopped in a panic.']
      return ['failed', 'The VM switched itself off, or started anew, without the agreed sign.']
    case killed:
      return ['suspicious', 'The virtual machine took more memory than it may.']
    case cpuExceeded:
      return ['suspicious', 'The virtual machine took more processor time than it may.']
    default:
      return ['suspicious', 'The virtual machine broke.']
  }
}

function requireMachinery({ walls, qemu }: QemuHost): void {
  if (!walls.bubblewrap) throw unavailable('there is nothing to wall in a virtual machine with')
  if (!existsSync(qemu)) throw unavailable(`there is no ${qemu}`)
}

function kernelOf({ kernel }: Pick<BootOptions, 'kernel'>): BootKernel {
  if (kernel === null) throw unavailable('the VM has no boot loader, and no kernel to start it with is named')
  for (const file of [kernel.kernel, kernel.initramfs])
    if (!existsSync(file)) throw unavailable(`there is no ${file}`)
  return kernel
}

/** Also looks whether the volume is there, in full: a plain file. */
async function firstSector({ vm, volume, path, bytes }: RestoredVolume): Promise<Uint8Array> {
  const missing = (cause?: unknown) =>
    new HostError('VOLUME_MISSING', `the restored volume ${volume} of ${vm} is not there in full`, { cause })
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    cause => {
      throw missing(cause)
    },
  )
  try {
    const status = await handle.stat()
    if (!status.isFile() || status.size !== bytes) throw missing()
    const sector = new Uint8Array(Math.min(bytes, bootSectorBytes))
    if (!(await readWhole(handle, sector, 0))) throw missing()
    return sector
  } finally {
    await handle.close()
  }
}

/** KVM where it was seen to start the kernel, else emulation. Once, at the first start. */
function tried(host: QemuHost & Pick<BootOptions, 'kernel' | 'entropy'>) {
  let known: Accelerator | null = null
  return async (signal: AbortSignal): Promise<Accelerator> => {
    known ??= (await kvmWorks(host, signal)) ? 'kvm' : 'tcg'
    return known
  }
}

async function kvmWorks(
  host: QemuHost & Pick<BootOptions, 'kernel' | 'entropy'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { kernel, entropy, log } = host
  if (kernel === null || process.arch !== 'x64' || !existsSync('/dev/kvm')) return false
  const { end } = await runQemu(
    host,
    {
      name: nameOf(entropy),
      accelerator: 'kvm',
      disks: [],
      start: null,
      kernel: kernelOf(host),
      limits: trialLimits,
      millisecondsMax: trialMilliseconds,
      words: [nothingToStart],
    },
    signal,
  )
  log.info('KVM was tried', { works: end.how === 'word', how: end.how })
  return end.how === 'word'
}

function nameOf(entropy: Entropy): string {
  return `boot-${toHex(entropy.bytes(8))}`
}

function unavailable(message: string): HostError {
  return new HostError('BOOT_UNAVAILABLE', message)
}
