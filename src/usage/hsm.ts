import { machineOptions, machineText } from './machine.ts'
import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const hsmSettings = '/etc/strongroom/hsm.json'

/** What takes a recovery key, as a file or in words. */
const takesKey = ['recovery-key', 'recover', 'rewrap']

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
    pin: { text: 'ask for the PIN and try it once: after the token has refused one from a file' },
    'new-epoch': {
      operands: 'PROFILE',
      text: 'a new passphrase in a new envelope, for the token and a recovery key: a new one, or those of --recipient',
    },
    'destroy-epoch': {
      operands: 'PROFILE EPOCH',
      text: 'after asking: destroy the passphrase of an earlier epoch whose snapshots are all forgotten',
    },
    pending: { text: 'the releases that wait for a person' },
    approve: {
      operands: 'CODE',
      text: 'release: you have compared the code with whoever ordered it; asks for the PIN where that is sealed',
    },
    deny: { operands: 'CODE', text: 'do not release, which is final for that job; needs no PIN' },
    attend: { text: 'wait for releases and ask about each, until ^C' },
    history: { operands: '[PROFILE]', text: 'every release and refusal, with its reason, the newest last' },
    compare: {
      text: 'whether copies of the ledger continue what this VM has cosigned, and the first entry that differs',
    },
    explain: { operands: '[PROFILE]', text: 'when and for what this VM releases a passphrase, in words' },
    rewrap: {
      operands: 'PROFILE',
      text: 'the same passphrase for other recipients, or for a new token with --recovery-key or --words',
    },
    'recovery-key': {
      text: 'recovery keys, as files and in words',
      actions: {
        new: {
          text: 'make one: as a file (--recovery-key), in words and QR codes on the terminal, on cards to be printed; whole, or as shares of several people',
        },
        split: { text: 'the same key in words, or in other shares' },
        combine: {
          text: 'the key that words make, as a file for age (--recovery-key) or on standard output',
        },
        verify: {
          operands: '[ENVELOPE...]',
          text: 'prove that a key, or words, are sound and open the envelopes; shows nothing of either',
        },
      },
    },
    envelopes: { text: 'list the envelopes' },
    machine: { text: machineText },
    recover: {
      operands: 'ENVELOPE',
      text: 'print the passphrase of an envelope, by --recovery-key or by words that are asked for, without the token',
    },
  },
  options: {
    settings: settingsOption(hsmSettings),
    'recovery-key': {
      type: 'string',
      value: 'FILE',
      of: ['new-epoch', ...takesKey],
      text: 'where the new recovery key is written (mode 0600), or where it is',
    },
    words: {
      type: 'string',
      multiple: true,
      value: 'FILE',
      of: takesKey,
      text: 'the words of one share or more in its place; - asks on the terminal, or reads standard input',
    },
    shares: { type: 'string', value: 'N', of: ['recovery-key'], text: 'into how many shares, up to 16' },
    threshold: { type: 'string', value: 'M', of: ['recovery-key'], text: 'how many of them make the key' },
    cards: {
      type: 'string',
      value: 'DIR',
      of: ['recovery-key'],
      text: 'write a page for each share, to be printed (HTML, mode 0600), and show none',
    },
    note: {
      type: 'string',
      value: 'TEXT',
      of: ['recovery-key'],
      text: 'what the cards say that the key is for',
    },
    recipient: {
      type: 'string',
      multiple: true,
      value: 'AGE1...',
      of: ['new-epoch', 'rewrap'],
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
    dom0: { type: 'string', value: 'DIR', of: ['compare'], text: 'a copy of ledger/ in the home of dom0' },
    management: {
      type: 'string',
      value: 'DIR',
      of: ['compare'],
      text: 'what strongroom management copy-ledger has written',
    },
    ...machineOptions,
    yes: { type: 'boolean', of: ['machine', 'destroy-epoch'], text: 'do not ask' },
    json: jsonOption,
    help: helpOption,
  },
  examples: [
    'init',
    'new-epoch nightly --recovery-key /media/usb/nightly.key',
    "recovery-key new --shares 3 --threshold 2 --cards /media/usb --note 'nightly, epoch 2'",
    'new-epoch nightly --recipient age1…',
    'recovery-key verify /var/lib/strongroom/envelopes/nightly.e2.age',
    'recover nightly.e2.age',
    'compare --dom0 /media/usb/ledger --management /media/usb/copy',
  ],
} as const satisfies Usage
