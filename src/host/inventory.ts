import type { VmName } from '../base/names.ts'

/** As qubesd knows a VM; what selectors and policy tokens are judged by. */
export interface Vm {
  readonly name: VmName
  /** AppVM, TemplateVM, StandaloneVM, DispVM, AdminVM, RemoteVM */
  readonly class: string
  readonly tags: readonly string[]
  readonly running: boolean
  /** Qubes property `include_in_backups`. */
  readonly includeInBackups: boolean
  readonly volumes: readonly VolumeInfo[]
}

export interface VolumeInfo {
  /** `private`, `root`. */
  readonly name: string
  /** Logical size in bytes. */
  readonly bytes: number
  /** Bytes in use, as the pool says. */
  readonly usage: number
}

export interface Inventory {
  list(signal: AbortSignal): Promise<readonly Vm[]>
}
