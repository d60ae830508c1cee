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
    doctor: { text: 'show what the token can do, and whether its keys can leave it' },
    pin: { text: 'ask for the PIN and try it once: after the token has refused one from a file' },
    'new-epoch': {
      operands: 'PROFILE',
      text: 'a new passphrase in a new envelope, for the token and a recovery key',
    },
    'destroy-epoch': {
      operands: 'PROFILE EPOCH',
      text: 'after asking: destroy the passphrase of an earlier epoch whose snapshots are all forgotten',
    },
    pending: { text: 'the releases that wait for a person' },
    approve: { operands: 'CODE', text: 'release: you have compared the code with whoever ordered it' },
    deny: { operands: 'CODE', text: 'do not release, which is final for that job' },
    attend: { text: 'wait for releases and ask about each, until ^C' },
    history: { operands: '[PROFILE]', text: 'every release and refusal, with its reason, the newest last' },
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
    witness: {
      type: 'boolean',
      of: ['init', 'keys', 'doctor', 'pin'],
      text: 'of the other token, which the settings name for witnessing the ledger',
    },
    epoch: { type: 'string', value: 'N', of: ['rewrap'], text: 'not of the newest epoch' },
    dialog: {
      type: 'string',
      value: 'PROGRAM',
      of: ['attend'],
      text: 'ask with zenity or kdialog, not on the terminal',
    },
    ...machineOptions,
    yes: { type: 'boolean', of: ['machine', 'destroy-epoch'], text: 'do not ask' },
    json: jsonOption,
    help: helpOption,
  },
  examples: ['init', 'new-epoch nightly --recovery-key /media/usb/nightly.key'],
} as const satisfies Usage
