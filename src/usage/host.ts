import { helpOption, jsonOption, type Usage } from './usage.ts'

export const hostUsage = {
  name: 'host',
  summary: 'all roles on this machine, without Qubes',
  serves: null,
  commands: {
    start: { text: 'run all service VMs of --home in the foreground' },
    stop: { text: 'end them' },
    status: { text: 'what runs' },
    run: {
      operands: 'VM -- hsm|seal|dom0 …',
      text: 'one command inside a VM: its files, its walls, this terminal',
    },
  },
  options: {
    home: { type: 'string', value: 'DIR', text: 'default: .strongroom' },
    port: {
      type: 'string',
      value: 'N',
      of: ['start'],
      text: 'of the API, on 127.0.0.1; default: the one it had before, or any if that is taken',
    },
    read: {
      type: 'string',
      value: 'PATH',
      multiple: true,
      of: ['run'],
      text: 'also seen inside, read-only; may be repeated',
    },
    write: {
      type: 'string',
      value: 'DIR',
      multiple: true,
      of: ['run'],
      text: 'also seen inside; may be repeated',
    },
    json: jsonOption,
    help: helpOption,
  },
  examples: [
    'start --home .strongroom',
    'run vault-hsm --write /media/usb -- hsm new-epoch nightly --recovery-key /media/usb/nightly.key',
    'stop --home .strongroom',
  ],
} as const satisfies Usage
