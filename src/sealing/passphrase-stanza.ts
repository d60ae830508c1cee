import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { type Identity, type Recipient, Stanza } from 'age-encryption'
import { utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import { scryptKey } from '../crypto/kdf.ts'
import { SealError } from './errors.ts'

/*
 * The `scrypt` stanza of age (https://c2sp.org/age, section 5): a file key under a passphrase. The library would do it with a
 * passphrase in a string, which cannot be zeroed, and in JavaScript, which costs a second more.
 */

const stanzaType = 'scrypt'
const label = utf8('age-encryption.org/v1/scrypt')
const saltLength = 16
const fileKeyLength = 16
const tagLength = 16
const nonce = new Uint8Array(12)
const cipher = 'chacha20-poly1305'
/** 128 MiB and half a second: a workspace has several keys. */
const workFactor = 17
/** As `age` itself writes; a file from elsewhere may not ask for more. */
const workFactorMax = 18

export function passphraseRecipient(passphrase: Secret, logN = workFactor): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = randomBytes(saltLength)
      using key = await wrappingKey(passphrase, salt, logN)
      const body = key.expose(bytes => {
        const sealing = createCipheriv(cipher, bytes, nonce, { authTagLength: tagLength })
        return Buffer.concat([sealing.update(fileKey), sealing.final(), sealing.getAuthTag()])
      })
      const text = salt.toString('base64').replace(/=+$/, '')
      return [new Stanza([stanzaType, text, String(logN)], new Uint8Array(body))]
    },
  }
}

/** Throws `SEAL_KEY_PASSPHRASE_WRONG`, `SEAL_KEY_FILE_INVALID`. `what` names the file. */
export function passphraseIdentity(passphrase: Secret, what: string): Identity {
  return {
    async unwrapFileKey(untrustedStanzas) {
      const [stanza] = untrustedStanzas
      const [type, salt, logN] = stanza?.args ?? []
      // A passphrase stands alone: anyone could add a recipient of his own to a file that she believes to be hers.
      if (stanza === undefined || untrustedStanzas.length !== 1 || type !== stanzaType)
        throw new SealError('SEAL_KEY_FILE_INVALID', `${what} is not under a passphrase`)
      const log = Number(logN)
      if (!/^[1-9][0-9]?$/.test(logN ?? '') || log > workFactorMax)
        throw new SealError('SEAL_KEY_FILE_INVALID', `${what} asks for a work factor above ${workFactorMax}`)
      using key = await wrappingKey(passphrase, Buffer.from(salt ?? '', 'base64'), log)
      return key.expose(bytes => open(bytes, stanza.body, what))
    },
  }
}

function open(key: Uint8Array, untrustedBody: Uint8Array, what: string): Uint8Array {
  if (untrustedBody.byteLength !== fileKeyLength + tagLength)
    throw new SealError('SEAL_KEY_FILE_INVALID', `${what} is damaged`)
  const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagLength })
  opening.setAuthTag(untrustedBody.subarray(fileKeyLength))
  try {
    const fileKey = opening.update(untrustedBody.subarray(0, fileKeyLength))
    opening.final()
    return new Uint8Array(fileKey)
  } catch {
    throw new SealError('SEAL_KEY_PASSPHRASE_WRONG', `the passphrase does not open ${what}`)
  }
}

async function wrappingKey(passphrase: Secret, salt: Uint8Array, logN: number): Promise<Secret> {
  try {
    const cost = { N: 2 ** logN, r: 8, p: 1 }
    return await scryptKey(passphrase, Buffer.concat([label, salt]), cost, 32)
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new SealError('SEAL_KEY_FILE_INVALID', cause.message, { cause })
  }
}
