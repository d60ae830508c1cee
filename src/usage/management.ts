import { machineOptions, machineText } from './machine.ts'
import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const managementSettings = '/etc/strongroom/management.json'

export const managementUsage = {
  name: 'management',
  summary: 'the management VM: the API, the schedules, a witness of the ledger, and a verifier of dom0',
  serves: 'serve the API until SIGTERM',
  commands: {
    init: { text: 'make the token of the API and the key of the witness; prints the public key' },
    'copy-ledger': {
      operands: 'DIR',
      text: "write this VM's copy of the ledger into a new directory, in the open format of dom0's",
    },
    machine: { text: machineText },
  },
  options: {
    settings: settingsOption(managementSettings),
    ...machineOptions,
    json: jsonOption,
    help: helpOption,
  },
  examples: ['init', 'copy-ledger /media/usb/copy', '--settings /etc/strongroom/management.json'],
} as const satisfies Usage
