import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const hostErrors = {
  VM_MISSING: { kind: 'missing', meaning: 'There is no such VM.', hint: 'see the inventory of the host' },
  VM_INVALID: {
    kind: 'usage',
    meaning: 'The description of a VM cannot be read.',
    hint: 'correct its vm.json',
  },
  VM_START: {
    kind: 'unavailable',
    meaning: 'A service VM or sandbox did not start, or ended at once.',
    hint: 'look into its log',
  },
  BROKER_UNAVAILABLE: {
    kind: 'unavailable',
    meaning: 'The broker of the local host does not answer.',
    hint: 'start the broker and look into its log',
  },
  BOOT_UNAVAILABLE: {
    kind: 'unavailable',
    meaning:
      'This machine cannot start a virtual machine from restored volumes, so the level `boot` of a drill cannot be proven on it.',
    hint: 'install qemu-system-x86 and bubblewrap, and name a kernel and an initramfs in the settings',
  },
  SANDBOX_DEADLINE: {
    kind: 'timeout',
    meaning: 'A sandbox ran longer than it may, and was destroyed.',
    hint: 'look into its log; allow more time in the profile',
  },
  SANDBOX_GONE: {
    kind: 'cancelled',
    meaning: 'dom0 let go of a sandbox, which was destroyed.',
    hint: 'nothing is left of it',
  },
  VOLUME_MISSING: {
    kind: 'missing',
    meaning: 'A volume that the VM should have is not there, or is no plain file.',
    hint: 'correct the vm.json of the VM',
  },
  VOLUME_READ: {
    kind: 'unavailable',
    meaning: 'A volume could not be read in full.',
    hint: 'look for faults of the disk',
  },
  VOLUME_WRITE: {
    kind: 'unavailable',
    meaning: 'A new volume could not be written.',
    hint: 'look for faults of the disk',
  },
  VOLUME_FULL: { kind: 'full', meaning: 'There is no room for the new volume.', hint: 'make room' },
  VOLUME_CHANGED: {
    kind: 'conflict',
    meaning: 'A volume changed while it was being read, so what was read is no moment of it.',
    hint: 'shut the VM down, or keep its volumes on a file system with reflinks',
  },
  VOLUME_MAP: {
    kind: 'unavailable',
    meaning:
      'What a volume holds, or what changed in it, could not be found out. A backup then reads all of it.',
    hint: 'see the log of dom0 for what the host said',
  },
  FILES_CHANGED: {
    kind: 'conflict',
    meaning: 'Files of dom0 changed while they were measured.',
    hint: 'measure again; if it happens again, find out who writes to them',
  },
  FILES_LIMIT: {
    kind: 'refused',
    meaning: 'There are more files of dom0, or larger ones, than are measured.',
    hint: 'look at what was put beside them',
  },
  FILES_ODD: {
    kind: 'integrity',
    meaning: 'Among files of dom0 is something that is none, or a name that is not UTF-8.',
    hint: 'find out who put it there, and remove it',
  },
  COMMAND_FAILED: {
    kind: 'unavailable',
    meaning: 'A program of the host could not be started, failed, took too long, or said more than it may.',
    hint: 'run it by hand; is its package installed?',
  },
  RESTORE_MISSING: {
    kind: 'missing',
    meaning: 'The earlier restore that was to be reused is not in dom0, or no longer.',
    hint: 'order without it, or name another',
  },
  VOLUME_EXISTS: {
    kind: 'conflict',
    meaning: 'A volume of that name is there; a restore never writes over one.',
    hint: 'restore under another VM name',
  },
} as const satisfies ErrorCatalogue

export class HostError extends errorClass(hostErrors) {}
