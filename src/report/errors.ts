import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const reportErrors = {
  REPORT_MALFORMED: {
    kind: 'integrity',
    meaning: 'The file is no drill report in the one accepted form, or is one that contradicts itself.',
    hint: 'take it from where it was first stored; it was cut, edited or converted on its way',
  },
  REPORT_SIGNATURE: {
    kind: 'integrity',
    meaning: 'The report does not have the signature of the expected ledger key: it proves nothing.',
    hint: 'compare the key with the one in the sealed configuration, and the report with another copy',
  },
  REPORT_NOT_IN_LEDGER: {
    kind: 'integrity',
    meaning: 'The ledger is not the one that the report speaks of, or has another snapshot in that place.',
    hint: 'keep both as evidence: either the report is false or the history was rewritten',
  },
  REPORT_AHEAD_OF_LEDGER: {
    kind: 'conflict',
    meaning: 'The copy of the ledger ends before the place at which the report was made.',
    hint: 'compare with a copy that is newer than the report',
  },
} as const satisfies ErrorCatalogue

export class ReportError extends errorClass(reportErrors) {}
