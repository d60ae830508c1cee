import { helpOption, jsonOption, settingsOption, type Usage } from './usage.ts'

export const storageSettings = '/etc/strongroom/storage.json'

export const storageUsage = {
  name: 'storage',
  summary: 'the storage VM: keeps ciphertext, and hashes what is stored',
  serves: "serve dom0's calls until SIGTERM",
  commands: {
    scrub: {
      operands: '[REPOSITORY...]',
      text:
        'hash every object of the repositories (all of them, unless named), and name those whose content is not what ' +
        'their name says. Takes no key, changes nothing, and may be stopped at any time: the next scrub goes on from ' +
        'there. Exit status 4: something is damaged',
    },
  },
  options: {
    'limit-read': {
      type: 'string',
      value: 'RATE',
      of: ['scrub'],
      text: 'bytes a second at most, e.g. 50M',
    },
    settings: settingsOption(storageSettings),
    json: jsonOption,
    help: helpOption,
  },
  examples: ['scrub', 'scrub nightly.e1 --limit-read 50M --json'],
} as const satisfies Usage
