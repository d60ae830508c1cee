import { KiB, MiB } from '../../base/bytes.ts'
import { deadline } from '../../base/environment.ts'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'
import { serviceNodeFlags } from '../../base/node-flags.ts'
import { HostError } from '../errors.ts'
import type { Sandbox, SandboxLimits } from '../sandboxes.ts'
import { childChannel } from './child-channel.ts'
import { spawnWalled, type WalledOptions, type WalledProcess } from './walled-process.ts'

/** The rest of a sandbox's memory is for buffers outside V8's heap. */
const heapShare = 0.5
const logBytesMax = 64 * KiB

/** For Node: the flags of every service, and what makes it keep to its share. */
export function nodeArguments({ memoryBytesMax }: SandboxLimits): readonly string[] {
  const heapMiB = Math.max(32, Math.floor((memoryBytesMax * heapShare) / MiB))
  return [...serviceNodeFlags, `--max-old-space-size=${heapMiB}`]
}

/** A walled process as a sandbox. What `cleanup` holds goes with it, after it; on a failure here that is the caller's to do. */
export async function startSandboxProcess(
  vm: VmName,
  options: Omit<WalledOptions, 'stdio'>,
  limits: SandboxLimits,
  log: Log,
  cleanup: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<Sandbox> {
  const started = await spawnWalled({ ...options, stdio: ['pipe', 'pipe', 'pipe'] })
  cleanup.defer(async () => {
    started.destroy()
    await started.exited
  })
  logComplaints(started, vm, log)
  return sandboxOf(vm, started, limits, signal, cleanup)
}

/** What it writes to standard error goes to our log, bounded; the rest is read and dropped. */
function logComplaints({ child }: WalledProcess, vm: VmName, log: Log): void {
  let left = logBytesMax
  child.stderr?.on('data', (part: Buffer) => {
    const text = part.subarray(0, left).toString('latin1')
    left -= text.length
    if (text !== '') log.warn('a sandbox complains', { vm, text })
  })
}

function sandboxOf(
  vm: VmName,
  { child, destroy, exited }: WalledProcess,
  limits: SandboxLimits,
  signal: AbortSignal,
  cleanup: AsyncDisposableStack,
): Sandbox {
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new HostError('VM_START', 'a sandbox without a channel')
  const channel = childChannel(stdout, stdin)
  const late = () => new HostError('SANDBOX_DEADLINE', `${vm} ran longer than ${limits.millisecondsMax} ms`)
  const stop = deadline(limits.millisecondsMax, late, signal)
  const kill = () => {
    channel.destroy(stop.reason)
    destroy()
  }
  stop.addEventListener('abort', kill, { once: true })
  if (stop.aborted) kill()
  exited.then(() => stop.removeEventListener('abort', kill))
  return {
    vm,
    channel,
    ended: exited,
    async [Symbol.asyncDispose]() {
      channel.destroy()
      await cleanup.disposeAsync()
    },
  }
}
