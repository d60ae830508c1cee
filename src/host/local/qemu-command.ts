import { MiB } from '../../base/bytes.ts'
import type { BootLimits } from '../boot-machines.ts'

/** `tcg`: QEMU translates every instruction, in user space. `kvm`: the processor runs them, with the kernel's help. */
export type Accelerator = 'tcg' | 'kvm'

/** Inside the walls. */
export const inside = {
  /** In the order of the disks. */
  disk: (index: number) => `/disks/${index}`,
  kernel: '/kernel/vmlinuz',
  initramfs: '/kernel/initramfs',
  /** A socket on which the host listens. */
  channel: '/sockets/channel',
  /** Likewise, for what QEMU itself says (QMP). */
  monitor: '/sockets/monitor',
  /** `/tmp`, written so that QEMU does not take `/var/tmp` for it. */
  overlays: '/tmp/.',
} as const

/** How Linux knows a disk by its place. */
export const diskName = (index: number) => `vd${String.fromCharCode('a'.charCodeAt(0) + index)}`
/** q35's own bus has room for these beside what else is there. */
export const disksMax = 16

/** What QEMU takes beside the machine's memory, its buffer for translated code among it. */
export const qemuBytes = 320 * MiB
const translatedMiB = 64

export interface QemuMachine {
  readonly program: string
  readonly accelerator: Accelerator
  readonly disks: number
  /** The disk that is started from; `null`: none is. */
  readonly start: number | null
  /** Started by a kernel from outside; else by the boot loader of the disk. */
  readonly hasKernel: boolean
  readonly limits: BootLimits
}

/**
 * QEMU's command line: no network, no display, no USB, no sound, nothing by default. All it has are read-only disks under
 * overlays that go with it, a console on standard output, and the channel.
 */
export function qemuCommand(machine: QemuMachine): readonly string[] {
  const { program, accelerator, limits } = machine
  return [
    ...[program, '-nodefaults', '-no-user-config', '-display', 'none', '-nic', 'none', '-no-reboot'],
    ...['-machine', 'q35,graphics=off,usb=off', '-accel', accelerationOf(accelerator), '-cpu', 'max'],
    ...['-smp', '1', '-m', `${Math.floor(limits.memoryBytes / MiB)}M`, '-boot', 'strict=on'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=channel,path=${inside.channel}`, '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=channel,name=strongroom.drill'],
    ...['-chardev', `socket,id=monitor,path=${inside.monitor}`, '-mon', 'chardev=monitor,mode=control'],
    ...Array.from({ length: machine.disks }, (_, index) => diskArguments(index, machine)).flat(),
    ...(machine.hasKernel ? kernelArguments(machine) : []),
  ]
}

function accelerationOf(accelerator: Accelerator): string {
  return accelerator === 'tcg' ? `tcg,tb-size=${translatedMiB}` : accelerator
}

function diskArguments(index: number, { start, hasKernel }: QemuMachine): readonly string[] {
  // The format is said, since one that is guessed could be one that names other files.
  const drive = `id=disk${index},file=${inside.disk(index)},format=raw,if=none,snapshot=on,werror=report`
  const device = `virtio-blk-pci,drive=disk${index}${index === start && !hasKernel ? ',bootindex=0' : ''}`
  return ['-drive', drive, '-device', device]
}

function kernelArguments({ start }: QemuMachine): readonly string[] {
  // A panic ends the machine at once; without `quiet`, systemd says on the console what it has reached. On a host with much to do
  // the emulated timer is slower than Linux's test of it would bear.
  const words = ['console=ttyS0', 'panic=-1', 'loglevel=4', 'no_timer_check']
  if (start !== null) words.push(`strongroom.root=${diskName(start)}`)
  return ['-kernel', inside.kernel, '-initrd', inside.initramfs, '-append', words.join(' ')]
}
