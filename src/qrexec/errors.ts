import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const qrexecErrors = {
  QREXEC_REFUSED: {
    kind: 'refused',
    meaning: 'The qrexec policy does not allow this call (exit code 126).',
    hint: 'the sealed policy decides; the log of dom0 names the rule',
  },
  QREXEC_UNREACHABLE: {
    kind: 'unavailable',
    meaning: 'The target VM or its service does not answer (exit codes 125 and 127).',
    hint: 'start the VM and look into its log',
  },
  QREXEC_REQUEST_INVALID: {
    kind: 'usage',
    meaning: 'The service, argument or target of a call is malformed.',
    hint: 'see the reference page of calls',
  },
  QREXEC_ANSWER_INVALID: {
    kind: 'unavailable',
    meaning:
      'The other VM answered with something that is no answer; an empty one means that it failed inside.',
    hint: 'look into the log of the VM at the other end',
  },
  QREXEC_TIMEOUT: {
    kind: 'timeout',
    meaning: 'The other VM did not answer within the deadline.',
    hint: 'look into the log of the VM at the other end, and try again',
  },
  POLICY_INVALID: {
    kind: 'refused',
    meaning: 'The policy has a syntax error, so every call is denied.',
    hint: 'correct the named line and seal the policy again',
  },
} as const satisfies ErrorCatalogue

export class QrexecError extends errorClass(qrexecErrors) {}
