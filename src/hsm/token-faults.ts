import { HsmError, type HsmErrorCode } from './errors.ts'

/* What the return values of PKCS#11 (v2.40, section 5.1) mean here. */

interface Meaning {
  readonly code: HsmErrorCode
  readonly words: string
}

const removed = (words: string): Meaning => ({ code: 'HSM_TOKEN_REMOVED', words })
const meanings: Readonly<Record<number, Meaning>> = {
  48: removed('the token has a fault or went away'), // CKR_DEVICE_ERROR
  50: removed('the token was removed'), // CKR_DEVICE_REMOVED
  176: removed('the session with the token was closed'), // CKR_SESSION_CLOSED
  179: removed('the session with the token is gone'), // CKR_SESSION_HANDLE_INVALID
  224: removed('the token is not there'), // CKR_TOKEN_NOT_PRESENT
  257: removed('the token has forgotten the login: it was away in between'), // CKR_USER_NOT_LOGGED_IN
  3: removed('the slot is gone, or has another number'), // CKR_SLOT_ID_INVALID
  19: { code: 'HSM_MECHANISM_MISSING', words: 'the token does not keep such an object' }, // CKR_ATTRIBUTE_VALUE_INVALID
  49: { code: 'HSM_TOKEN_FULL', words: 'the token has no room left' }, // CKR_DEVICE_MEMORY
  181: { code: 'HSM_TOKEN_READ_ONLY', words: 'the token is write-protected' }, // CKR_SESSION_READ_ONLY
  226: { code: 'HSM_TOKEN_READ_ONLY', words: 'the token is write-protected' }, // CKR_TOKEN_WRITE_PROTECTED
  84: { code: 'HSM_MECHANISM_MISSING', words: 'the module does not have the function' }, // CKR_FUNCTION_NOT_SUPPORTED
  112: { code: 'HSM_MECHANISM_MISSING', words: 'the token does not have the mechanism' }, // CKR_MECHANISM_INVALID
  160: { code: 'HSM_PIN_WRONG', words: 'the PIN is wrong' }, // CKR_PIN_INCORRECT
  161: { code: 'HSM_PIN_WRONG', words: 'the PIN has characters that the token does not take' }, // CKR_PIN_INVALID
  162: { code: 'HSM_PIN_WRONG', words: 'the PIN is shorter or longer than the token takes' }, // CKR_PIN_LEN_RANGE
  163: { code: 'HSM_PIN_LOCKED', words: 'the PIN has expired' }, // CKR_PIN_EXPIRED
  164: { code: 'HSM_PIN_LOCKED', words: 'the PIN is locked' }, // CKR_PIN_LOCKED
}

export const alreadyInitialised = 0x191
const sessionCount = 0xb1

/** The return value in an error of pkcs11js, or `null` when it came from elsewhere. */
export function returnValueOf(error: unknown): number | null {
  if (!(error instanceof Error)) return null
  if (error.name === 'Pkcs11Error' && 'code' in error)
    return typeof error.code === 'number' ? error.code : null
  // Some functions of the binding, C_CreateObject among them, throw the text that it makes the others from.
  const [, value] = /^CKR_[A-Z_]+:(\d{1,10})$/.exec(error.message) ?? []
  return value === undefined ? null : Number(value)
}

/** The token gives no more sessions. */
export function isSessionLimit(error: unknown): boolean {
  return returnValueOf(error) === sessionCount
}

/** `what` was being done; the module's own text is left out, for it is not known what it quotes. */
export function tokenError(what: string, error: unknown): HsmError {
  if (error instanceof HsmError) return error
  const value = returnValueOf(error)
  if (value === null) return new HsmError('HSM_TOKEN_FAILED', `${what} failed in the PKCS#11 binding`)
  const { code, words } = meanings[value] ?? {
    code: 'HSM_TOKEN_FAILED',
    words: `the module answered 0x${value.toString(16)}`,
  }
  return new HsmError(code, `${what}: ${words}`, { retry: code === 'HSM_TOKEN_REMOVED' })
}
