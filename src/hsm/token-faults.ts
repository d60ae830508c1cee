import { HsmError, type HsmErrorCode } from './errors.ts'

/* What the return values of PKCS#11 (v2.40, section 5.1) mean here. */

const names: Readonly<Record<number, HsmErrorCode>> = {
  48: 'HSM_TOKEN_REMOVED', // CKR_DEVICE_ERROR
  50: 'HSM_TOKEN_REMOVED', // CKR_DEVICE_REMOVED
  176: 'HSM_TOKEN_REMOVED', // CKR_SESSION_CLOSED
  179: 'HSM_TOKEN_REMOVED', // CKR_SESSION_HANDLE_INVALID
  224: 'HSM_TOKEN_REMOVED', // CKR_TOKEN_NOT_PRESENT
  257: 'HSM_TOKEN_REMOVED', // CKR_USER_NOT_LOGGED_IN: the token came back in between
  112: 'HSM_MECHANISM_MISSING', // CKR_MECHANISM_INVALID
  160: 'HSM_PIN_WRONG', // CKR_PIN_INCORRECT
  161: 'HSM_PIN_WRONG', // CKR_PIN_INVALID
  162: 'HSM_PIN_WRONG', // CKR_PIN_LEN_RANGE
  163: 'HSM_PIN_LOCKED', // CKR_PIN_EXPIRED
  164: 'HSM_PIN_LOCKED', // CKR_PIN_LOCKED
}

export const alreadyInitialised = 0x191

/** The return value in an error of pkcs11js, or `null` when it came from elsewhere. */
export function returnValueOf(error: unknown): number | null {
  if (!(error instanceof Error) || error.name !== 'Pkcs11Error' || !('code' in error)) return null
  return typeof error.code === 'number' ? error.code : null
}

/** `what` was being done; the module's own text is left out, for it is not known what it quotes. */
export function tokenError(what: string, error: unknown): HsmError {
  if (error instanceof HsmError) return error
  const value = returnValueOf(error)
  if (value === null) return new HsmError('HSM_TOKEN_FAILED', `${what} failed in the PKCS#11 binding`)
  const code = names[value] ?? 'HSM_TOKEN_FAILED'
  const retry = code === 'HSM_TOKEN_REMOVED'
  return new HsmError(code, `${what}: the module answered 0x${value.toString(16)}`, { retry })
}
