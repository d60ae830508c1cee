import { KiB, MiB } from '../../base/bytes.ts'
import { type Clock, deadline } from '../../base/environment.ts'
import type { Log } from '../../base/log.ts'
import { serviceNodeFlags } from '../../base/node-flags.ts'
import { HostError } from '../errors.ts'
import type { Sandbox, Sandboxes, SandboxLimits } from '../sandboxes.ts'
import { type BrokerDisposable, createDisposable } from './broker-control.ts'
import type { Product, Walls } from './bubblewrap.ts'
import { childChannel } from './child-channel.ts'
import { sandboxMarker } from './marker.ts'
import { limitMemory, type MemoryLimit } from './memory-limit.ts'
import { spawnWalled, type WalledProcess } from './walled-process.ts'

/** The rest of a sandbox's memory is for buffers outside V8's heap. */
const heapShare = 0.5
const logBytesMax = 64 * KiB

export interface LocalSandboxesOptions {
  readonly walls: Walls
  readonly product: Product
  /** The program inside, as Node's arguments; the path of its qrexec socket is added as the last one. */
  readonly command: readonly string[]
  /** The broker's control socket. */
  readonly controlSocket: string
  readonly clock: Clock
  readonly log: Log
}

/** Disposables of the local host: a process in every namespace of its own, known to the broker under a fresh name. */
export function localSandboxes(options: LocalSandboxesOptions): Sandboxes {
  return {
    async start(job, limits, signal) {
      signal.throwIfAborted()
      const cleanup = new AsyncDisposableStack()
      try {
        const vm = cleanup.use(await createDisposable(options.controlSocket))
        const memory = await limitMemory(vm.name, limits.memoryBytesMax, options.clock)
        cleanup.defer(() => memory.remove())
        const started = await spawnSandbox(options, vm, memory, limits)
        cleanup.defer(async () => {
          started.destroy()
          await started.exited
        })
        logComplaints(started, vm, options.log)
        options.log.info('sandbox started', { job, vm: vm.name, pid: started.child.pid })
        return sandboxOf(vm, started, limits, signal, cleanup)
      } catch (error) {
        await cleanup.disposeAsync()
        throw error
      }
    },
  }
}

function spawnSandbox(
  { walls, product, command }: LocalSandboxesOptions,
  vm: BrokerDisposable,
  memory: MemoryLimit,
  limits: SandboxLimits,
): Promise<WalledProcess> {
  const heapMiB = Math.max(32, Math.floor((limits.memoryBytesMax * heapShare) / MiB))
  return spawnWalled({
    walls,
    product,
    view: {
      vm: vm.name,
      binds: [{ from: vm.directory, write: false }],
      network: false,
      environment: { [sandboxMarker]: vm.name },
      disableUserns: walls.disableUserns,
    },
    command: [
      product.node,
      ...serviceNodeFlags,
      `--max-old-space-size=${heapMiB}`,
      ...command,
      `${vm.directory}/qrexec.sock`,
    ],
    wrapper: memory.wrapper,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

/** What it writes to standard error goes to our log, bounded; the rest is read and dropped. */
function logComplaints({ child }: WalledProcess, vm: BrokerDisposable, log: Log): void {
  let left = logBytesMax
  child.stderr?.on('data', (part: Buffer) => {
    const text = part.subarray(0, left).toString('latin1')
    left -= text.length
    if (text !== '') log.warn('a sandbox complains', { vm: vm.name, text })
  })
}

function sandboxOf(
  vm: BrokerDisposable,
  { child, destroy, exited }: WalledProcess,
  limits: SandboxLimits,
  signal: AbortSignal,
  cleanup: AsyncDisposableStack,
): Sandbox {
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new HostError('VM_START', 'a sandbox without a channel')
  const channel = childChannel(stdout, stdin)
  const late = () =>
    new HostError('SANDBOX_DEADLINE', `${vm.name} ran longer than ${limits.millisecondsMax} ms`)
  const stop = deadline(limits.millisecondsMax, late, signal)
  const kill = () => {
    channel.destroy(stop.reason)
    destroy()
  }
  stop.addEventListener('abort', kill, { once: true })
  if (stop.aborted) kill()
  exited.then(() => stop.removeEventListener('abort', kill))
  return {
    vm: vm.name,
    channel,
    ended: exited,
    async [Symbol.asyncDispose]() {
      channel.destroy()
      await cleanup.disposeAsync()
    },
  }
}
