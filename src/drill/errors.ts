import { type ErrorCatalogue, errorClass } from '../base/errors.ts'

export const drillErrors = {
  EXAMINATION_TOO_LARGE: {
    kind: 'full',
    meaning: 'What a sandbox would have to be told of a drill, rules and volumes, is more than it takes.',
    hint: 'seal fewer rules for files, or a shorter program',
  },
  EXAMINATION_INVALID: {
    kind: 'integrity',
    meaning:
      'The sandbox that examined volumes answered with something that is no verdict on what it was asked.',
    hint: 'take the volumes for hostile: do not open them outside of a disposable',
  },
} as const satisfies ErrorCatalogue

export class DrillError extends errorClass(drillErrors) {}
