import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const managementSettings = '/etc/strongroom/management.json'

export const managementUsage = {
  name: 'management',
  summary: 'the management VM: the API, the schedules, and a witness of the ledger',
  serves: 'serve the API until SIGTERM',
  commands: {
    init: { text: 'make the token of the API and the key of the witness; prints the public key' },
  },
  options: { settings: settingsOption(managementSettings), json: jsonOption, help: helpOption },
  examples: ['init', '--settings /etc/strongroom/management.json'],
} as const satisfies Usage
