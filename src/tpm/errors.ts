import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const tpmErrors = {
  TPM_MALFORMED: {
    kind: 'integrity',
    meaning: 'Bytes that should be a structure of a TPM do not follow its format.',
    hint: 'they were damaged or made up on their way; ask again, and look at what stands between',
  },
  TPM_UNREACHABLE: {
    kind: 'unavailable',
    meaning: 'The TPM cannot be opened, or went away in the middle of a command.',
    hint: 'look whether /dev/tpmrm0 exists and may be opened; a TPM may be off in the firmware settings',
  },
  TPM_TIMEOUT: {
    kind: 'timeout',
    meaning: 'The TPM gave no answer within the deadline.',
    hint: 'try again; if it stays silent, restart the machine',
  },
  TPM_NOT_INITIALISED: {
    kind: 'unavailable',
    meaning: 'The TPM was not started since it was switched on.',
    hint: 'the firmware does that; a software TPM needs startup-clear',
  },
  TPM_FAILURE_MODE: {
    kind: 'unavailable',
    meaning: 'The TPM failed its own test and answers nothing any more.',
    hint: 'switch the machine off and on; if it comes again, the TPM is broken or its state is unreadable',
  },
  TPM_BUSY: {
    kind: 'unavailable',
    meaning: 'The TPM asks to come back later.',
    hint: 'try again in a few seconds',
  },
  TPM_FULL: {
    kind: 'full',
    meaning: 'The TPM has no room for another object, session or index.',
    hint: 'use /dev/tpmrm0, which manages the room, or flush what other programs left behind',
  },
  TPM_LOCKED_OUT: {
    kind: 'refused',
    meaning: 'The TPM refuses passwords because too many were wrong.',
    hint: 'wait until it recovers, or clear the lockout with the lockout password; find out who guessed',
  },
  TPM_AUTH_WRONG: {
    kind: 'key',
    meaning: 'The password of a hierarchy, a key or an index is wrong.',
    hint: 'give the password that was set when the TPM was taken into use',
  },
  TPM_POLICY_FAILED: {
    kind: 'refused',
    meaning: 'The state of the machine is not the one that the policy of the secret asks for.',
    hint: 'something else was measured than when the secret was sealed: an update, or a manipulation',
  },
  TPM_CREDENTIAL_WRONG: {
    kind: 'integrity',
    meaning: 'A challenge or a sealed secret was not made for this TPM and this key, or was changed.',
    hint: 'it belongs to another machine, or the TPM was cleared since; enrol again',
  },
  TPM_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The TPM has no such key, index or PCR.',
    hint: 'it was never made, or somebody cleared the TPM',
  },
  TPM_EXISTS: {
    kind: 'conflict',
    meaning: 'There is an index of that number already.',
    hint: 'choose another index, or remove that one if you know whose it is',
  },
  TPM_REFUSED: {
    kind: 'failed',
    meaning: 'The TPM refused a command for another reason; its response code is in the message.',
    hint: 'look the code up in TPM 2.0 Library part 2, section 6.6',
  },
  TPM_KEY_INVALID: {
    kind: 'integrity',
    meaning: 'A public key is not of the kind that its use asks for.',
    hint: 'it was made by something else than a TPM, or with another template',
  },
  TPM_PCR_RESETTABLE: {
    kind: 'refused',
    meaning: 'A PCR was named that every program can reset, so that it proves nothing.',
    hint: 'name another one than 16 and 23; 14 is the default',
  },
  TPM_PCR_UNMEASURED: {
    kind: 'refused',
    meaning: 'A PCR is all zeros or all ones: nothing was measured into it.',
    hint: 'measure first; on real hardware look whether the measured start fell back silently',
  },
  TPM_COUNTER_INVALID: {
    kind: 'integrity',
    meaning: 'The index that should be a counter is something else, or has other rights.',
    hint: 'somebody replaced it with memory that can be set back; treat it as an attack',
  },
} as const satisfies ErrorCatalogue

export type TpmErrorCode = keyof typeof tpmErrors

export class TpmError extends errorClass(tpmErrors) {}
