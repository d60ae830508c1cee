import { helpOption, jsonOption, type Usage } from './usage.ts'

export const sealUsage = {
  name: 'seal',
  summary: 'create, sign and install the sealed configuration',
  serves: null,
  commands: {
    init: { text: 'make keys, the root and an empty draft in --dir' },
    sign: { text: 'show what the draft changes, and sign it' },
    show: { text: 'what is sealed' },
    verify: { text: 'verify a store against its pin; fails if anything is wrong' },
    install: { text: "put an update into a machine's own store" },
  },
  options: {
    dir: {
      type: 'string',
      value: 'DIR',
      text: 'the workspace: keys, draft, store, pin, updates (default: ./seal)',
    },
    custody: { type: 'string', value: 'WHO', of: ['init'], text: 'superadmin (default) or split' },
    expires: {
      type: 'string',
      value: 'DATE',
      of: ['init', 'sign'],
      text: 'e.g. 2027-12-31 (default: in one year)',
    },
    'no-passphrase': { type: 'boolean', of: ['init'], text: 'leave key files unencrypted (mode 0600)' },
    renew: { type: 'boolean', of: ['sign'], text: 'again, although nothing changed' },
    yes: { type: 'boolean', of: ['sign'], text: 'do not ask' },
    machine: {
      type: 'string',
      value: 'DIR',
      of: ['install', 'show', 'verify'],
      text: "a machine's copy (store, pin.json, floor.json)",
    },
    update: { type: 'string', value: 'FILE', of: ['install'], text: "the update, as 'sign' wrote it" },
    json: jsonOption,
    help: helpOption,
  },
  examples: [
    'init --dir ~/seal --custody split',
    'sign --dir ~/seal --expires 2027-12-31',
    'install --machine /var/lib/strongroom/sealed --update whole.update',
    'verify --machine /var/lib/strongroom/sealed',
  ],
} as const satisfies Usage
