import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const dom0Settings = '/etc/strongroom/dom0.json'

export const dom0Usage = {
  name: 'dom0',
  summary: 'the dom0 agent: judges orders, runs jobs, keeps the ledger',
  serves: 'serve the orders of the management VM, by the sealed configuration, until SIGTERM',
  commands: {
    anchor: { text: 'let the counter of the TPM stand for the sealed store on disk, from now on' },
    init: { text: 'make the ledger and the key that signs it, once; prints the public key' },
  },
  options: { settings: settingsOption(dom0Settings), json: jsonOption, help: helpOption },
  examples: ['init', '--settings /etc/strongroom/dom0.json'],
} as const satisfies Usage
