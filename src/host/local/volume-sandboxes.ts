import { lstat } from 'node:fs/promises'
import path from 'node:path'
import type { Clock, Entropy } from '../../base/environment.ts'
import { ignoreMissing } from '../../base/files.ts'
import type { Log } from '../../base/log.ts'
import { HostError } from '../errors.ts'
import type { Sandboxes, SandboxLimits } from '../sandboxes.ts'
import { disposableName } from './broker-control.ts'
import type { Product, Walls } from './bubblewrap.ts'
import { sandboxMarker } from './marker.ts'
import { limitResources } from './resource-limits.ts'
import { nodeArguments, startSandboxProcess } from './sandbox-process.ts'
import { systemCallFilter } from './system-call-filter.ts'

/** Threads of Node among them. */
const tasksMax = 256
/** The machine's other work goes on. */
const coresMax = 1
/** Of a sandbox's memory. */
const tmpShare = 0.5
/** Where the volumes are inside, as `<vm>/<volume>.img`. */
const volumesInside = '/volumes'

export interface VolumeSandboxesOptions {
  readonly walls: Walls
  readonly product: Product
  /** The program inside, as Node's arguments. */
  readonly command: readonly string[]
  /** Holds a directory of volumes for each job, under the job's name. */
  readonly directory: string
  readonly clock: Clock
  readonly entropy: Entropy
  readonly log: Log
}

/**
 * Disposables that are shown the volumes of a job, read-only, and can speak to nobody but through their channel: no network,
 * no socket of the broker, few system calls. Throws `VM_START` where processes cannot be walled in: what a volume holds is
 * hostile, and is never looked at without.
 */
export function localVolumeSandboxes(options: VolumeSandboxesOptions): Sandboxes {
  const { walls, product, command, clock, entropy, log } = options
  return {
    async start(job, limits, signal) {
      signal.throwIfAborted()
      const filter = systemCallFilter()
      if (!walls.bubblewrap || filter === null)
        throw new HostError('VM_START', 'this machine cannot wall in what examines volumes')
      const volumes = path.join(options.directory, job)
      const found = await lstat(volumes).catch(ignoreMissing)
      if (!found?.isDirectory()) throw new HostError('VOLUME_MISSING', `no volumes were put there for ${job}`)
      const cleanup = new AsyncDisposableStack()
      try {
        const vm = disposableName(entropy)
        const { memoryBytesMax } = limits
        const resources = await limitResources(vm, { memoryBytesMax, tasksMax, coresMax }, clock)
        cleanup.defer(() => resources.remove())
        const walled = {
          walls,
          product,
          view: {
            vm,
            binds: [{ from: volumes, to: volumesInside, write: false }],
            network: false,
            environment: { [sandboxMarker]: vm },
            disableUserns: walls.disableUserns,
            tmpBytesMax: Math.floor(memoryBytesMax * tmpShare),
          },
          command: [product.node, ...nodeArguments(limits), ...command],
          wrapper: [...resources.wrapper, ...processLimits(limits)],
          filter,
        }
        const sandbox = await startSandboxProcess(vm, walled, limits, log, cleanup, signal)
        log.info('sandbox for volumes started', { job, vm })
        return sandbox
      } catch (error) {
        await cleanup.disposeAsync()
        throw error
      }
    },
  }
}

/** Of each process by itself, wherever control groups could not be made. */
function processLimits({ millisecondsMax }: SandboxLimits): readonly string[] {
  return ['prlimit', `--cpu=${Math.ceil(millisecondsMax / 1000)}`, '--nofile=1024', '--']
}
