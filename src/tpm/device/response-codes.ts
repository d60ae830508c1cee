import { TpmError, type TpmErrorCode } from '../errors.ts'

/* TPM_RC (part 2, 6.6): what is behind the number of a refusal. */

/** Whole codes: errors of the TPM itself and warnings. */
const wholeCodes: ReadonlyMap<number, TpmErrorCode> = new Map([
  [0x100, 'TPM_NOT_INITIALISED'],
  [0x101, 'TPM_FAILURE_MODE'],
  [0x125, 'TPM_AUTH_WRONG'], // an authorisation is missing
  [0x128, 'TPM_POLICY_FAILED'], // a PCR was extended between the policy and its use
  [0x12f, 'TPM_AUTH_WRONG'], // a password where only a policy is allowed
  [0x14a, 'TPM_NOT_FOUND'], // an index that was never written
  [0x14b, 'TPM_FULL'],
  [0x14c, 'TPM_EXISTS'],
  [0x901, 'TPM_FULL'],
  [0x902, 'TPM_FULL'],
  [0x903, 'TPM_FULL'],
  [0x904, 'TPM_FULL'],
  [0x905, 'TPM_FULL'],
  [0x906, 'TPM_FULL'],
  [0x908, 'TPM_BUSY'],
  [0x909, 'TPM_BUSY'],
  [0x90a, 'TPM_BUSY'],
  [0x920, 'TPM_BUSY'],
  [0x921, 'TPM_LOCKED_OUT'],
  [0x922, 'TPM_BUSY'],
  [0x923, 'TPM_BUSY'],
])

/** Codes about one handle, session or parameter, without its number. */
const partCodes: ReadonlyMap<number, TpmErrorCode> = new Map([
  [0x8b, 'TPM_NOT_FOUND'], // no such handle
  [0x8e, 'TPM_AUTH_WRONG'], // counts towards the lockout
  [0x9b, 'TPM_POLICY_FAILED'], // the approval of a policy is not signed by its key
  [0x9d, 'TPM_POLICY_FAILED'],
  [0x9f, 'TPM_CREDENTIAL_WRONG'],
  [0xa2, 'TPM_AUTH_WRONG'], // does not count towards the lockout
])

const referencesFirst = 0x910
const referencesLast = 0x916

/** The error of a response code other than 0. `command` says what was asked, for people. */
export function refusal(code: number, command: string): TpmError {
  const shown = `0x${code.toString(16).padStart(3, '0')}`
  const found = codeOf(code)
  const retry = found === 'TPM_BUSY'
  return new TpmError(found, `${command}: the TPM answered ${shown}${partOf(code)}`, { retry })
}

function codeOf(code: number): TpmErrorCode {
  if (code & 0x80) return partCodes.get(code & 0xbf) ?? 'TPM_REFUSED'
  if (code >= referencesFirst && code <= referencesLast) return 'TPM_NOT_FOUND'
  return wholeCodes.get(code) ?? 'TPM_REFUSED'
}

function partOf(code: number): string {
  if ((code & 0x80) === 0) return ''
  if (code & 0x40) return `, of parameter ${(code >> 8) & 0xf}`
  return code & 0x800 ? `, of session ${(code >> 8) & 0x7}` : `, of handle ${(code >> 8) & 0x7}`
}
