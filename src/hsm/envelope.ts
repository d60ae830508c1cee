import { type Recipient as AgeRecipient, Decrypter, Encrypter, type Identity, Stanza } from 'age-encryption'
import { KiB } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { HsmError } from './errors.ts'
import { requireSafe } from './passphrase.ts'
import type { Recipient } from './recipients.ts'
import { importRecoveryKey, type RecoveryDecryptionKey } from './recovery.ts'
import { parseSshRsa } from './ssh-rsa.ts'
import { unwrapSshRsa, wrapSshRsa } from './ssh-rsa-stanza.ts'
import { unwrapTagged } from './tagged-stanza.ts'
import type { TokenKey } from './token-key.ts'

/*
 * Passphrase envelopes: age files (https://c2sp.org/age@v1) that hold one passphrase, and nothing else, for at least one
 * token and at least one recovery key.
 */

export const envelopeBytesMax = 16 * KiB
const recipientsMax = 32

/** Throws `HSM_PASSPHRASE_UNSAFE`, `HSM_RECIPIENTS_SHORT` or `HSM_RECIPIENT_INVALID`. */
export async function createEnvelope(
  passphrase: Secret,
  recipients: readonly Recipient[],
): Promise<Uint8Array> {
  passphrase.expose(requireSafe)
  requireRecipients(recipients)
  const encrypter = new Encrypter()
  const plaintext = passphrase.expose(bytes => bytes.slice())
  try {
    for (const { text } of recipients) encrypter.addRecipient(ageRecipient(text))
    return await encrypter.encrypt(plaintext)
  } catch (cause) {
    throw new HsmError('HSM_RECIPIENT_INVALID', 'one of the recipients cannot be encrypted to', { cause })
  } finally {
    plaintext.fill(0)
  }
}

/**
 * The passphrase, by what the token does with its wrapping key. Throws `HSM_ENVELOPE_OTHER_KEY`, `HSM_ENVELOPE_INVALID`,
 * `HSM_PASSPHRASE_UNSAFE`, or what the token throws.
 */
export function openWithToken(envelope: Untrusted<Uint8Array>, token: TokenKey): Promise<Secret> {
  const unwrapFileKey = (stanzas: Stanza[]) =>
    token.type === 'p256' ? unwrapTagged(stanzas, token) : unwrapSshRsa(stanzas, token)
  return open(envelope, { unwrapFileKey })
}

/** The passphrase, by a recovery key. Throws as `openWithToken`, and `HSM_RECOVERY_KEY_INVALID`. */
export async function openWithRecoveryKey(
  envelope: Untrusted<Uint8Array>,
  identity: Secret,
): Promise<Secret> {
  return open(envelope, await importRecoveryKey(identity))
}

async function open(
  envelope: Untrusted<Uint8Array>,
  identity: Identity | RecoveryDecryptionKey,
): Promise<Secret> {
  const decrypter = new Decrypter()
  decrypter.addIdentity(identity)
  decrypter.addIdentity(noIdentity)
  const passphrase = Secret.take(await envelope.parse(untrustedBytes => decrypt(decrypter, untrustedBytes)))
  try {
    passphrase.expose(requireSafe)
    return passphrase
  } catch (error) {
    passphrase.dispose()
    throw error
  }
}

async function decrypt(decrypter: Decrypter, untrustedBytes: Uint8Array): Promise<Uint8Array> {
  if (untrustedBytes.byteLength > envelopeBytesMax)
    throw new HsmError(
      'HSM_ENVELOPE_INVALID',
      `an envelope of ${untrustedBytes.byteLength} bytes; at most ${envelopeBytesMax} are read`,
    )
  try {
    return await decrypter.decrypt(untrustedBytes)
  } catch (cause) {
    if (cause instanceof CodedError) throw cause
    throw new HsmError('HSM_ENVELOPE_INVALID', 'the envelope is no age file, or was changed', { cause })
  }
}

/** The last identity that is asked: when its turn comes, nobody before could open any stanza. */
const noIdentity: Identity = {
  unwrapFileKey(stanzas: Stanza[]) {
    throw new HsmError(
      'HSM_ENVELOPE_OTHER_KEY',
      `none of the ${stanzas.length} stanzas of the envelope is for this key`,
    )
  },
}

/** The library knows all but SSH keys. */
function ageRecipient(text: string): string | AgeRecipient {
  const modulus = parseSshRsa(text)
  if (modulus === null) return text
  return {
    wrapFileKey: fileKey => {
      const { args, body } = wrapSshRsa(modulus, fileKey)
      return [new Stanza(args, body)]
    },
  }
}

function requireRecipients(recipients: readonly Recipient[]): void {
  const kinds = new Set(recipients.map(({ kind }) => kind))
  if (!kinds.has('token') || !kinds.has('recovery'))
    throw new HsmError(
      'HSM_RECIPIENTS_SHORT',
      `${recipients.length} recipients; expected at least one token and one recovery key`,
    )
  if (recipients.length > recipientsMax)
    throw new HsmError('HSM_RECIPIENT_INVALID', `${recipients.length} recipients; at most ${recipientsMax}`)
  if (new Set(recipients.map(({ text }) => text)).size < recipients.length)
    throw new HsmError('HSM_RECIPIENT_INVALID', 'a recipient is named twice')
}
