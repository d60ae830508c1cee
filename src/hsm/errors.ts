import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const hsmErrors = {
  HSM_PIN_WRONG: {
    kind: 'key',
    meaning: 'The token did not accept the PIN. It is not tried again until it is replaced.',
    hint: 'put the right PIN in place; some tokens lock after three wrong ones',
  },
  HSM_PIN_LOCKED: {
    kind: 'key',
    meaning: 'The token has locked its PIN after too many wrong ones.',
    hint: 'unlock it with the PIN of its security officer, or open the envelope with a recovery key',
  },
  HSM_PIN_LAST_TRY: {
    kind: 'key',
    meaning: 'One more wrong PIN would lock the token, so no attempt is made without a person.',
    hint: "log in once with the token's own tool, e.g. `pkcs11-tool --login --list-objects`",
  },
  HSM_PIN_FILE_OPEN_TO_OTHERS: {
    kind: 'refused',
    meaning: 'The file with the PIN can be read or replaced by others than its owner.',
    hint: 'chmod 600 the file, owned by the user that runs the HSM VM, and change the PIN',
  },
  HSM_PIN_UNAVAILABLE: {
    kind: 'unavailable',
    meaning: 'There is no PIN: its file is missing, or there is no terminal to ask at.',
    hint: 'put the PIN file in place, or run the command at a terminal',
  },
  HSM_PIN_INVALID: {
    kind: 'usage',
    meaning: 'The PIN is empty, too long, or has bytes that no token takes.',
    hint: 'a PIN is one line of 4 to 255 printable characters',
  },
  HSM_MODULE_MISSING: {
    kind: 'unavailable',
    meaning: 'The PKCS#11 module could not be loaded.',
    hint: 'install the module, and correct its path in the settings of the HSM VM',
  },
  HSM_MODULE_CRASHED: {
    kind: 'unavailable',
    meaning:
      'The process with the PKCS#11 module ended in the middle of a call. The next call starts it anew.',
    hint: 'try again; if it stays so, look into the log of the HSM VM and update the module',
  },
  HSM_TIMEOUT: {
    kind: 'timeout',
    meaning:
      'The token did not answer within the deadline. Its process was ended; the next call starts it anew.',
    hint: 'look at the token, perhaps it waits for a touch, and try again',
  },
  HSM_BUSY: {
    kind: 'conflict',
    meaning: 'Too many calls are waiting for the HSM VM, its token or a person.',
    hint: 'try again later',
  },
  HSM_TOKEN_MISSING: {
    kind: 'unavailable',
    meaning: 'There is no token with the configured label.',
    hint: 'plug it in, attach it to the HSM VM, or correct the label in its settings',
  },
  HSM_TOKEN_REMOVED: {
    kind: 'unavailable',
    meaning: 'The token went away while it was in use. The next call looks for it again.',
    hint: 'put the token back and try again',
  },
  HSM_TOKEN_AMBIGUOUS: {
    kind: 'conflict',
    meaning: 'Two tokens, or two keys in one token, have the same label.',
    hint: 'remove the one that is not meant',
  },
  HSM_TOKEN_EXISTS: {
    kind: 'conflict',
    meaning: 'There already is a token or a key with that label.',
    hint: 'use it, or choose another label; nothing is ever initialised over',
  },
  HSM_TOKEN_FULL: {
    kind: 'unavailable',
    meaning: 'The token has no room for what was to be made in it. What is in it goes on working.',
    hint: 'remove what nobody needs with its own tool, or take another token',
  },
  HSM_TOKEN_READ_ONLY: {
    kind: 'refused',
    meaning: 'The token is write-protected: nothing can be made in it. What is in it goes on working.',
    hint: 'make keys and counters while it may be written to',
  },
  HSM_TOKEN_FAILED: {
    kind: 'unavailable',
    meaning: 'The PKCS#11 module reported an error that has no meaning of its own here.',
    hint: "the message has the module's own code; look into its log",
  },
  HSM_MECHANISM_MISSING: {
    kind: 'unavailable',
    meaning: 'The token cannot do what is asked of it.',
    hint: '`strongroom hsm doctor` lists what it can do',
  },
  HSM_KEY_MISSING: {
    kind: 'missing',
    meaning: 'The token has no key with the expected label.',
    hint: 'prepare the token with `strongroom hsm init`, or attach the right one',
  },
  HSM_KEY_OTHER: {
    kind: 'conflict',
    meaning:
      "The token's witness key is not the one in the sealed configuration, or the PIN was given for a token with another wrapping key.",
    hint: 'attach the right token; a new witness key is sealed in roles.json',
  },
  HSM_ENVELOPE_MISSING: {
    kind: 'missing',
    meaning: 'The HSM VM has no passphrase envelope for that profile and epoch.',
    hint: 'create it with `strongroom hsm new-epoch`, or put its copy back',
  },
  HSM_ENVELOPE_EXISTS: {
    kind: 'conflict',
    meaning: 'There already is an envelope for that profile and epoch; it is never overwritten.',
    hint: 'make a new epoch',
  },
  HSM_ENVELOPE_INVALID: {
    kind: 'integrity',
    meaning: 'The passphrase envelope is damaged or was changed.',
    hint: 'put a copy back; its digest is in the sealed configuration',
  },
  HSM_ENVELOPE_MISMATCH: {
    kind: 'integrity',
    meaning: 'The passphrase envelope is not the one whose digest was sealed.',
    hint: 'put the sealed envelope back; if the new one is meant, seal its digest',
  },
  HSM_ENVELOPE_OTHER_KEY: {
    kind: 'key',
    meaning: 'The passphrase envelope was made for other tokens or recovery keys.',
    hint: 'attach the token or take the recovery key that it was made for',
  },
  HSM_EPOCH_IN_USE: {
    kind: 'conflict',
    meaning: 'An epoch is not over: it is the sealed one, or the ledger has snapshots of it.',
    hint: 'seal a new epoch first; then forget and prune what is in the earlier one',
  },
  HSM_EPOCH_DESTROYED: {
    kind: 'missing',
    meaning:
      'The passphrase of that epoch was destroyed in this HSM VM, and copies of its envelope are not taken back.',
    hint: 'if dom0 still asks for it: `strongroom hsm destroy-epoch` again, so that the ledger has it; then seal without the epoch',
  },
  HSM_EPOCH_UNRECORDED: {
    kind: 'unavailable',
    meaning: 'The epoch is destroyed, and dom0 has not recorded it in the ledger.',
    hint: 'when dom0 runs: the same command again, which only tells dom0',
  },
  HSM_DOM0_UNREACHABLE: {
    kind: 'usage',
    meaning: 'The HSM VM has to read the ledger in dom0, and its settings say no way.',
    hint: 'name the socket to the broker as `qrexec` in the settings of the HSM VM, and start it anew',
  },
  HSM_RECIPIENTS_SHORT: {
    kind: 'usage',
    meaning:
      'A passphrase envelope needs a token and a recovery key: one dead token must not mean dead backups.',
    hint: 'name a recovery key with --recipient age1…; `strongroom hsm new-epoch PROFILE --recovery-key FILE` makes one',
  },
  HSM_RECIPIENT_INVALID: {
    kind: 'usage',
    meaning: 'That is no age recipient of a token (age1tag1… or ssh-rsa …) or of a recovery key (age1…).',
    hint: 'copy the whole line as it was printed',
  },
  HSM_RECOVERY_KEY_INVALID: {
    kind: 'usage',
    meaning: 'That is no recovery key (AGE-SECRET-KEY-1…).',
    hint: 'type or scan it again; its check digits find a wrong character',
  },
  HSM_RECOVERY_KEY_WRITE: {
    kind: 'unavailable',
    meaning:
      'A recovery key or card could not be written. Directories are never made for it: one that is missing may be a medium that is not mounted, and the key would stay on this machine.',
    hint: 'mount the medium, or name a directory that is there, can be written and has room',
  },
  HSM_SHARES_SCHEME: {
    kind: 'usage',
    meaning: 'A recovery key cannot be split so.',
    hint: 'one share, or 2 to 16 shares of which 2 or more make the key: --shares 3 --threshold 2',
  },
  HSM_WORD_UNKNOWN: {
    kind: 'usage',
    meaning: 'A word is not one of the 1024 that shares of recovery keys are made of.',
    hint: 'look at the card again; the first four letters of a word are enough',
  },
  HSM_SHARE_LENGTH: {
    kind: 'usage',
    meaning: 'A share has too few or too many words: one was left out, or two shares run into each other.',
    hint: 'a share has 33 words and ends with a line; an empty line may follow',
  },
  HSM_SHARE_DAMAGED: {
    kind: 'usage',
    meaning: 'The check words of a share do not fit: a word was mistyped or misread.',
    hint: 'compare each word with the card, by its number',
  },
  HSM_SHARE_FOREIGN: {
    kind: 'usage',
    meaning: 'The words are a sound SLIP-39 share, but not one of a recovery key: of a wallet, perhaps.',
    hint: 'take the cards of the recovery key',
  },
  HSM_SHARE_TWICE: {
    kind: 'usage',
    meaning: 'The same share was given twice; it counts once.',
    hint: 'take the share of another holder',
  },
  HSM_SHARES_OTHER_KEY: {
    kind: 'key',
    meaning: 'Shares of two different recovery keys, or of one that was split twice, were given together.',
    hint: 'compare fingerprint and date on the cards',
  },
  HSM_SHARES_SHORT: {
    kind: 'usage',
    meaning: 'There are fewer shares than make the recovery key. They tell nothing about it.',
    hint: 'each card says how many are needed',
  },
  HSM_SHARES_INVALID: {
    kind: 'integrity',
    meaning:
      'Each share is sound by itself, but together they make no recovery key: one is forged, or of another key.',
    hint: 'try others, one exchanged at a time; compare fingerprint and date on the cards',
  },
  HSM_PASSPHRASE_UNSAFE: {
    kind: 'refused',
    meaning: 'The passphrase is empty, too short, or has bytes that some tool would drop or alter.',
    hint: 'passphrases are 20 to 1024 printable ASCII characters without outer spaces',
  },
  HSM_STORE_DAMAGED: {
    kind: 'integrity',
    meaning: "A file of the HSM VM's own record is not what this product writes.",
    hint: 'keep it as evidence, and put the newest copy back before anything is released',
  },
  HSM_STORE_BUSY: {
    kind: 'conflict',
    meaning: 'Another process serves from the directory of the HSM VM and writes its record.',
    hint: 'let one service alone run; the commands that only make or list envelopes work beside it',
  },
  HSM_STORE_WRITE: {
    kind: 'unavailable',
    meaning: 'The HSM VM could not write its own record, so nothing was released.',
    hint: 'look at the disk of the HSM VM',
  },
  HSM_REFUSED_CALLER: {
    kind: 'refused',
    meaning: 'Only dom0 may ask for a passphrase.',
    hint: 'nothing to do; if another VM should be dom0 here, its policy is wrong',
  },
  HSM_REFUSED_REQUEST: {
    kind: 'refused',
    meaning: 'What was shown is no release request, or one for another profile.',
    hint: 'dom0 and the HSM VM must run the same version',
  },
  HSM_REFUSED_PROFILE: {
    kind: 'refused',
    meaning: 'The sealed configuration has no such profile.',
    hint: 'seal the profile and its binding',
  },
  HSM_REFUSED_CONFIGURATION: {
    kind: 'refused',
    meaning: 'dom0 and the HSM VM have different sealed configurations.',
    hint: 'bring the newest sealed update to both',
  },
  HSM_REFUSED_EPOCH: {
    kind: 'refused',
    meaning: 'The request is for an epoch that is not sealed, or for a backup into an earlier one.',
    hint: 'seal the earlier epoch with its envelope under `earlier_epochs`, or open it with its recovery key',
  },
  HSM_REFUSED_PURPOSE: {
    kind: 'refused',
    meaning: 'The sealed binding does not allow a release for that purpose.',
    hint: 'add the purpose to the binding and seal it, if it is meant',
  },
  HSM_REFUSED_EXPIRED: {
    kind: 'refused',
    meaning: 'The request is not valid at this time.',
    hint: 'order again; compare the clocks of dom0 and the HSM VM',
  },
  HSM_REFUSED_REPLAYED: {
    kind: 'refused',
    meaning: 'That request was answered before: each one releases once.',
    hint: 'order again; if nobody sent it twice, look at dom0',
  },
  HSM_REFUSED_HOURS: {
    kind: 'refused',
    meaning: 'The sealed binding does not release for this purpose at this time of the day.',
    hint: 'wait, or seal other hours; `strongroom hsm explain PROFILE` shows them',
  },
  HSM_COUNTER_MISSING: {
    kind: 'key',
    meaning: 'The token has no counter, and the settings say that it counts.',
    hint: 'on a new token: `strongroom hsm anchor`; on one that had it, somebody removed it',
  },
  HSM_REFUSED_DENIED: {
    kind: 'refused',
    meaning: 'A person was asked and did not approve the release, which is final for the job.',
    hint: 'ask the user of the HSM VM; then order anew',
  },
  HSM_APPROVAL_MISSING: {
    kind: 'missing',
    meaning: 'No release with the given code waits for an answer.',
    hint: 'see `strongroom hsm pending`; what nobody answers in time is denied',
  },
  HSM_PIN_WANTED: {
    kind: 'refused',
    meaning: 'A yes without the PIN of the token, for a release that wants both. It goes on waiting.',
    hint: '`strongroom hsm approve CODE` on a terminal asks for the PIN; `strongroom hsm deny CODE` needs none',
  },
  HSM_REFUSED_LIMIT: {
    kind: 'refused',
    meaning: 'The sealed limit of releases per day is reached.',
    hint: 'wait, or seal a higher limit',
  },
  HSM_REFUSED_ATTESTATION: {
    kind: 'refused',
    meaning:
      'dom0 did not prove that it uses the sealed store that this VM has. The message says what is wrong.',
    hint: 'each finding has its own advice: see the reference page of attestation',
  },
  HSM_REFUSED_LEDGER: {
    kind: 'integrity',
    meaning:
      'The ledger that was shown does not hold the request, or does not continue what was shown before.',
    hint: 'keep both as evidence: strongroom hsm compare names the first entry that differs',
  },
} as const satisfies ErrorCatalogue

export type HsmErrorCode = keyof typeof hsmErrors

export class HsmError extends errorClass(hsmErrors) {}

export function isHsmErrorCode(text: string): text is HsmErrorCode {
  return Object.hasOwn(hsmErrors, text)
}
