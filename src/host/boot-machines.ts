import type { Bytes } from '../base/brand.ts'
import type { LevelVerdict } from '../base/drill-levels.ts'
import type { BootRule } from '../base/drill-rules.ts'
import { fields, is } from '../base/json.ts'
import type { RestoredVolume } from './drill-rooms.ts'

export interface BootLimits {
  /** Of the virtual machine. */
  readonly memoryBytes: Bytes
  /** What it may write, on all its disks together; thrown away with it. */
  readonly writtenBytesMax: Bytes
  /** What it may say, on its console and its channel together. */
  readonly saidBytesMax: Bytes
}

/** Level `boot` of a restore drill: disposable virtual machines without a network, each from the volumes of one VM. */
export interface BootMachines {
  /**
   * Starts `rule.vm` from its `volumes`, in their order, which stay as they are, and waits for the word. Nothing is left of the
   * machine afterwards, on every path. Throws `BOOT_UNAVAILABLE` when nothing can be said of the VM, because it is this machine that
   * cannot start one; `VOLUME_MISSING`; the signal's reason.
   */
  boot(
    rule: BootRule,
    volumes: readonly RestoredVolume[],
    limits: BootLimits,
    signal: AbortSignal,
  ): Promise<LevelVerdict>
}

export const parseBootKernel = fields('boot', {
  /** A Linux kernel, as a boot loader would load it. */
  kernel: is.string(4000),
  /** Made by `scripts/boot-machine/build.sh`, for that kernel. */
  initramfs: is.string(4000),
})
/** What starts VMs that have no boot loader of their own. */
export type BootKernel = ReturnType<typeof parseBootKernel>
