import { CodedError, type ErrorCatalogue, type ErrorReport, errorClass } from '../base/errors.ts'

export const cliErrors = {
  CLI_USAGE: {
    kind: 'usage',
    meaning: 'The command line is wrong.',
    hint: 'see --help',
  },
  CLI_ADDRESS: {
    kind: 'usage',
    meaning: 'The address of the API is malformed, or would send the token over a network in the clear.',
    hint: 'give --api unix:/path/to/socket, http://127.0.0.1:PORT or https://HOST',
  },
  CLI_TOKEN_FILE: {
    kind: 'usage',
    meaning: 'The token file does not read, or does not hold a token.',
    hint: 'give --token-file FILE or set STRONGROOM_TOKEN_FILE',
  },
  CLI_UNREACHABLE: {
    kind: 'unavailable',
    meaning: 'The API does not answer.',
    hint: 'is the management service running? --api or STRONGROOM_API says where it listens',
  },
  CLI_TIMEOUT: {
    kind: 'timeout',
    meaning: 'The API did not answer within the deadline.',
    hint: 'look into the log of the management VM, and try again',
  },
  CLI_ANSWER_INVALID: {
    kind: 'unavailable',
    meaning: 'What answers at the address is not this version of the API.',
    hint: 'compare the versions of command and service; is the address right?',
  },
  CLI_DETACHED: {
    kind: 'cancelled',
    meaning: 'The command stopped watching; the job goes on.',
    hint: 'cancel the job if it is not wanted',
  },
  CLI_JOB_CANCELLED: {
    kind: 'cancelled',
    meaning: 'The job was cancelled.',
    hint: 'order again when wanted',
  },
  CLI_SNAPSHOT_ID: {
    kind: 'usage',
    meaning: 'That is no id of a snapshot, nor the beginning of one that is long enough.',
    hint: 'list them with: strongroom snapshots PROFILE',
  },
  CLI_SNAPSHOT_UNKNOWN: {
    kind: 'missing',
    meaning: 'The ledger has no snapshot of the profile whose id begins so.',
    hint: 'list them with: strongroom snapshots PROFILE',
  },
  CLI_SNAPSHOT_AMBIGUOUS: {
    kind: 'usage',
    meaning: 'More than one snapshot of the profile has an id that begins so.',
    hint: 'list them with: strongroom snapshots PROFILE',
  },
  CLI_MACHINE_REFUSED: {
    kind: 'integrity',
    meaning: 'dom0 did not prove that it uses the sealed store.',
    hint: 'each finding says what to do; see docs/how-to/attest-a-machine.md',
  },
  CLI_REPORT_FILE: {
    kind: 'usage',
    meaning: 'There is no drill report in that file.',
    hint: 'give the file of a report, as it was made',
  },
  CLI_DRILL_NOT_PASSED: {
    kind: 'failed',
    meaning: 'The report is genuine, and says that the drill did not pass.',
    hint: 'see which level failed; dom0’s log says more than a report may',
  },
  CLI_LEDGER_KEY: {
    kind: 'usage',
    meaning: 'There is no key to verify the ledger with, or what was given is none.',
    hint: 'give --key with roles.json of the sealed configuration, a verifier key, or the key in base64',
  },
} as const satisfies ErrorCatalogue

export class CliError extends errorClass(cliErrors) {}

/** What the API, or dom0 behind it, said instead of an answer; it keeps its own code and kind. */
export class ReportedError extends CodedError {
  constructor({ code, kind, message, hint }: ErrorReport) {
    super(code, { kind, meaning: '', hint }, message)
  }
}
