import { type ErrorCatalogue, errorClass } from './errors.ts'

export const baseErrors = {
  NAME_INVALID: { kind: 'usage', meaning: 'A name does not follow its grammar.', hint: 'correct the name' },
  JSON_INVALID: {
    kind: 'usage',
    meaning: 'JSON that is malformed, too large, too deep, or has a duplicate key.',
    hint: 'send well-formed JSON within the documented limits',
  },
  FIELD_INVALID: {
    kind: 'usage',
    meaning: 'A field is missing, unknown, or has the wrong type or value.',
    hint: 'see the reference page of the call or file',
  },
  BYTES_INVALID: {
    kind: 'usage',
    meaning: 'A text encoding (hex, base64) does not decode.',
    hint: 'the data was damaged on its way, or is not what it is taken for',
  },
  STREAM_TOO_LONG: {
    kind: 'usage',
    meaning: 'The other side sent more than the stated limit.',
    hint: 'send less; the limit is in the reference page of the call',
  },
  STREAM_ENDED: {
    kind: 'unavailable',
    meaning: 'The other side closed the connection in the middle of a message.',
    hint: 'look into the log of the VM at the other end',
  },
  SECRET_DISPOSED: {
    kind: 'failed',
    meaning: 'A secret was used after its end. This is a defect of the product.',
    hint: 'report it',
  },
  CANCELLED: { kind: 'cancelled', meaning: 'Stopped on request.', hint: 'order again when wanted' },
} as const satisfies ErrorCatalogue

export class BaseError extends errorClass(baseErrors) {}
