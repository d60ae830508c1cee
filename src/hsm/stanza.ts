import { HsmError } from './errors.ts'

/* Stanzas of an age header, as far as those for tokens are alike. */

export interface UntrustedStanza {
  readonly args: readonly string[]
  readonly body: Uint8Array
}

/** Canonical base64 without padding, as all of age. Throws `HSM_ENVELOPE_INVALID`. */
export function decodeArgument(untrustedText: string, length: number): Uint8Array {
  const bytes = Buffer.from(untrustedText, 'base64')
  if (bytes.toString('base64').replace(/=+$/, '') !== untrustedText || bytes.byteLength !== length)
    throw invalidStanza(`an argument of a stanza is not ${length} bytes in base64`)
  return new Uint8Array(bytes)
}

export function invalidStanza(message: string): HsmError {
  return new HsmError('HSM_ENVELOPE_INVALID', message)
}
