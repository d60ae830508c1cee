/* Of the VMs that verify dom0: the HSM VM and the management VM. */

export const machineText =
  'show the machine that dom0 is known to be, by its TPM; with --forget: enrol the next one that answers'

export const machineOptions = {
  forget: {
    type: 'boolean',
    of: ['machine'],
    text: 'after asking: forget it; the next machine that proves its state is the one that is known',
  },
  yes: { type: 'boolean', of: ['machine'], text: 'with --forget: do not ask' },
} as const
