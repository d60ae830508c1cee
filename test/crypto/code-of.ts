import { CryptoError } from '../../src/crypto/errors.ts'

/** Of the error that `act` throws, or `none`. */
export function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof CryptoError) return error.code
    throw error
  }
  return 'none'
}
