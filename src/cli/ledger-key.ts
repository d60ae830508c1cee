import { fromUtf8 } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import { readBounded } from '../base/files.ts'
import { ledgerKey } from '../ledger/identities.ts'
import { parseVerifierKey, type VerifierKey } from '../ledger/note.ts'
import { parsePublicKey, parseRoles } from '../profiles/roles.ts'
import { CliError } from './errors.ts'

const keyFileBytesMax = 64 * 1024
const verifierKeyForm = /^[^+\s]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$/
/** Raw, or behind the constant beginning of a SubjectPublicKeyInfo. */
const base64Form = /^(?:MCowBQYDK2VwAyEA)?[A-Za-z0-9+/]{43}=$/

/**
 * The key by which dom0 signs its ledger, as people have it: `roles.json` of the sealed configuration, a verifier key, or
 * base64 of the raw key; the latter two themselves or in a file. Throws `CLI_LEDGER_KEY`.
 */
export async function readLedgerKey(given: string): Promise<VerifierKey> {
  if (verifierKeyForm.test(given) || base64Form.test(given)) return keyIn('--key', given)
  const content = await readBounded(given, keyFileBytesMax).catch(cause => {
    throw new CliError('CLI_LEDGER_KEY', `${printable(given)} does not read`, { cause })
  })
  if (content === null)
    throw new CliError('CLI_LEDGER_KEY', `--key is neither a key nor a file: ${printable(given)}`)
  return content.parse(untrustedBytes => keyIn(printable(given), textOf(untrustedBytes)))
}

function keyIn(where: string, text: string): VerifierKey {
  try {
    if (verifierKeyForm.test(text)) return parseVerifierKey(text)
    if (text.startsWith('{')) return ledgerKey(parseRoles(Buffer.from(text)).keys)
    if (base64Form.test(text)) return ledgerKey({ dom0: parsePublicKey(text) })
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new CliError('CLI_LEDGER_KEY', `no key of the ledger in ${where}: ${cause.message}`, { cause })
  }
  throw new CliError('CLI_LEDGER_KEY', `no key of the ledger in ${where}`)
}

/** Empty for what is no text: no key is that. */
function textOf(untrustedBytes: Uint8Array): string {
  try {
    return fromUtf8(untrustedBytes).trim()
  } catch {
    return ''
  }
}
