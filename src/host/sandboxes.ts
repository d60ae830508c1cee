import type { Duplex } from 'node:stream'
import type { JobId, VmName } from '../base/names.ts'

export interface SandboxLimits {
  readonly memoryBytesMax: number
  readonly millisecondsMax: number
}

/** A disposable VM without network, for one job. Disposing destroys it and everything in it, on every path. */
export interface Sandbox extends AsyncDisposable {
  readonly vm: VmName
  /** Its standard input and output: the only channel to dom0. What comes out is untrusted. */
  readonly channel: Duplex
  /** Resolves when it has ended, with its exit status. */
  readonly ended: Promise<number>
}

export interface Sandboxes {
  start(job: JobId, limits: SandboxLimits, signal: AbortSignal): Promise<Sandbox>
}
