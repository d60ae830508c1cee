import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const apiErrors = {
  API_UNAUTHORIZED: {
    kind: 'refused',
    meaning: 'The request has no bearer token, or not the right one.',
    hint: 'send the token of the token file: Authorization: Bearer …',
  },
  API_TOKEN_FILE: {
    kind: 'refused',
    meaning: 'The token file is missing, readable by others, or does not hold a token.',
    hint: 'make the token file anew with mode 0600',
  },
  API_NOT_FOUND: {
    kind: 'missing',
    meaning: 'There is nothing at this path.',
    hint: 'the paths are in /openapi.json',
  },
  API_METHOD: {
    kind: 'usage',
    meaning: 'The path does not take this method.',
    hint: 'the Allow header names the methods',
  },
  API_REQUEST_INVALID: {
    kind: 'usage',
    meaning: 'A field, parameter or header of the request is missing, unknown or wrong.',
    hint: 'see /openapi.json',
  },
  API_BODY_TOO_LARGE: {
    kind: 'usage',
    meaning: 'The body of the request is longer than 16 KiB.',
    hint: 'no request of this API needs more',
  },
  API_MEDIA_TYPE: {
    kind: 'usage',
    meaning: 'The body of the request is not application/json.',
    hint: 'send JSON, and say so in Content-Type',
  },
  API_JOB_NOT_FOUND: { kind: 'missing', meaning: 'There is no such job.', hint: 'list the jobs' },
  API_PROFILE_NOT_FOUND: {
    kind: 'missing',
    meaning: 'dom0 offers no such profile.',
    hint: 'list the profiles; the sealed configuration and the policy decide which there are',
  },
  API_SCHEDULE_NOT_FOUND: {
    kind: 'missing',
    meaning: 'The profile has no schedule.',
    hint: 'set one',
  },
  API_ALARM_NOT_FOUND: {
    kind: 'missing',
    meaning: 'There is nothing to acknowledge: the witness has raised no alarm.',
    hint: 'nothing to do; other alarms of `strongroom status` end when their cause does',
  },
  MACHINE_WITHOUT_TPM: {
    kind: 'integrity',
    meaning: 'dom0 says that it has no TPM, and the machine that is known here has one.',
    hint: 'is `tpm` still in the settings of dom0? Else it hides what it uses, or is another machine',
  },
  API_ATTESTATION_OFF: {
    kind: 'missing',
    meaning: 'This service asks no machine to attest.',
    hint: 'it follows no ledger: finish its set-up',
  },
  API_STREAMS_BUSY: {
    kind: 'unavailable',
    meaning: 'As many event streams are open as this service allows.',
    hint: 'close one, or ask for the job now and then',
  },
  CATALOGUE_DAMAGED: {
    kind: 'failed',
    meaning: 'The catalogue of the management VM does not open or does not read as it was written.',
    hint: 'it is a copy: move it away and start again; schedules must then be set anew',
  },
} as const satisfies ErrorCatalogue

export class ApiError extends errorClass(apiErrors) {}
