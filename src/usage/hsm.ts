import { machineOptions, machineText } from './machine.ts'
import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const hsmSettings = '/etc/strongroom/hsm.json'

export const hsmUsage = {
  name: 'hsm',
  summary: 'the HSM VM: token, envelopes, recovery keys',
  serves: 'serve dom0 until SIGTERM',
  commands: {
    anchor: { text: 'let the counter of the token stand for the sealed store on disk, from now on' },
    init: { text: 'make the token (if there is none) and its keys' },
    keys: { text: 'show the public keys' },
    doctor: {
      text: 'show what the token can do, whether its keys can leave it, and what could leave this VM',
    },
    'new-epoch': {
      operands: 'PROFILE',
      text: 'a new passphrase in a new envelope, for the token and a recovery key',
    },
    pending: { text: 'the releases that wait for a person' },
    approve: { operands: 'CODE', text: 'release: you have compared the code with whoever ordered it' },
    deny: { operands: 'CODE', text: 'do not release, which is final for that job' },
    attend: { text: 'wait for releases and ask about each, until ^C' },
    history: { operands: '[PROFILE]', text: 'every release and refusal, with its reason, the newest last' },
    compare: {
      text: 'whether copies of the ledger continue what this VM has cosigned, and the first entry that differs',
    },
    explain: { operands: '[PROFILE]', text: 'when and for what this VM releases a passphrase, in words' },
    rewrap: {
      operands: 'PROFILE',
      text: 'the same passphrase for other recipients, or for a new token with --recovery-key',
    },
    envelopes: { text: 'list the envelopes' },
    machine: { text: machineText },
    recover: {
      operands: 'ENVELOPE',
      text: 'print the passphrase of an envelope with --recovery-key, without the token',
    },
  },
  options: {
    settings: settingsOption(hsmSettings),
    'recovery-key': {
      type: 'string',
      value: 'FILE',
      of: ['new-epoch', 'recover', 'rewrap'],
      text: 'where the new recovery key is written (mode 0600), or where it is',
    },
    recipient: {
      type: 'string',
      multiple: true,
      value: 'AGE1...',
      of: ['rewrap'],
      text: 'who can open it beside this token: every recovery key and other token that is to be able',
    },
    epoch: { type: 'string', value: 'N', of: ['rewrap'], text: 'not of the newest epoch' },
    dialog: {
      type: 'string',
      value: 'PROGRAM',
      of: ['attend'],
      text: 'ask with zenity or kdialog, not on the terminal',
    },
    dom0: { type: 'string', value: 'DIR', of: ['compare'], text: 'a copy of ledger/ in the home of dom0' },
    management: {
      type: 'string',
      value: 'DIR',
      of: ['compare'],
      text: 'what strongroom management copy-ledger has written',
    },
    ...machineOptions,
    json: jsonOption,
    help: helpOption,
  },
  examples: [
    'init',
    'new-epoch nightly --recovery-key /media/usb/nightly.key',
    'compare --dom0 /media/usb/ledger --management /media/usb/copy',
  ],
} as const satisfies Usage
