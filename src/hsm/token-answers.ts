import { BaseError } from '../base/base-errors.ts'
import { printable } from '../base/errors.ts'
import { fields, is } from '../base/json.ts'
import { ed25519PublicKeyLength } from '../crypto/signature.ts'
import { HsmError } from './errors.ts'
import { isModulus } from './oaep.ts'
import { isPoint } from './recipients.ts'
import type {
  InspectedToken,
  TokenDescription,
  TokenPublicKeys,
  TokenSealKey,
  WrappingKey,
} from './token-protocol.ts'

/* The forms of what a token's process may answer. */

const textLengthMax = 64
const keysMax = 8

/** For a terminal: the process holds foreign code, and need not have said what its module said. */
function text(untrustedValue: unknown): string {
  return printable(is.string(textLengthMax)(untrustedValue))
}

function bytes(length: number): (untrustedValue: unknown) => Uint8Array {
  return untrustedValue => {
    if (!(untrustedValue instanceof Uint8Array) || untrustedValue.byteLength !== length)
      throw new BaseError('FIELD_INVALID', `expected ${length} bytes`)
    return untrustedValue
  }
}

function point(untrustedValue: unknown): Uint8Array {
  if (untrustedValue instanceof Uint8Array && isPoint(untrustedValue)) return new Uint8Array(untrustedValue)
  throw new BaseError('FIELD_INVALID', 'expected a point of P-256')
}

function modulus(untrustedValue: unknown): Uint8Array {
  if (untrustedValue instanceof Uint8Array && isModulus(untrustedValue)) return new Uint8Array(untrustedValue)
  throw new BaseError('FIELD_INVALID', 'expected a modulus of 2048 to 4096 bits')
}

function wrappingKey(untrustedValue: unknown): WrappingKey {
  const isRsa = typeof untrustedValue === 'object' && untrustedValue !== null && 'modulus' in untrustedValue
  return isRsa
    ? fields('wrapping key', { type: is.literal('rsa'), modulus })(untrustedValue)
    : fields('wrapping key', { type: is.literal('p256'), point })(untrustedValue)
}

const publicKeys = fields('public keys', {
  wrapping: is.nullable(wrappingKey),
  witness: is.nullable(bytes(ed25519PublicKeyLength)),
})

const sealKey = is.nullable((untrustedValue: unknown): TokenSealKey => {
  const { type, bytes: key } = fields('seal key', {
    type: is.literal('ed25519', 'ecdsa-p256'),
    bytes: (value: unknown) => value,
  })(untrustedValue)
  return { type, bytes: type === 'ed25519' ? bytes(ed25519PublicKeyLength)(key) : point(key) }
})

const inspected = fields('token', {
  label: text,
  manufacturer: text,
  model: text,
  serial: text,
  pin: is.literal('sound', 'failed-before', 'last-try', 'locked'),
  isWriteProtected: is.boolean,
  mechanisms: is.integer(),
  ecdh: is.boolean,
  oaep: is.boolean,
  rsa: is.boolean,
  ed25519: is.boolean,
  ecdsa: is.boolean,
})

const description = fields('token', {
  opens: is.nullable(is.literal('ecdh', 'oaep', 'rsa')),
  keys: is.array(
    fields('key', {
      label: text,
      isProtected: is.boolean,
      export: is.literal('refused', 'given', 'untried'),
    }),
    keysMax,
  ),
})

export const tokenAnswers = {
  bytes: (untrustedValue: unknown, length: number): Uint8Array => checked(untrustedValue, bytes(length)),
  publicKeys: (untrustedValue: unknown): TokenPublicKeys => checked(untrustedValue, publicKeys),
  sealKey: (untrustedValue: unknown): TokenSealKey | null => checked(untrustedValue, sealKey),
  count: (untrustedValue: unknown): number => checked(untrustedValue, is.integer()),
  inspected: (untrustedValue: unknown): InspectedToken => checked(untrustedValue, inspected),
  description: (untrustedValue: unknown): TokenDescription => checked(untrustedValue, description),
}

function checked<T>(untrustedValue: unknown, parse: (untrustedValue: unknown) => T): T {
  try {
    return parse(untrustedValue)
  } catch (cause) {
    if (!(cause instanceof BaseError)) throw cause
    throw new HsmError('HSM_TOKEN_FAILED', `the token's process answered: ${cause.message}`, { cause })
  }
}
