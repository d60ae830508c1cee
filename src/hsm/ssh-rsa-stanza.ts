import { equalConstantTime, view } from '../base/bytes.ts'
import { encryptOaep } from './oaep.ts'
import { sshRsaTag, sshRsaType } from './ssh-rsa.ts'
import { decodeArgument, invalidStanza, type UntrustedStanza } from './stanza.ts'
import type { DecryptingKey } from './token-key.ts'

/*
 * The `ssh-rsa` stanza of age (filippo.io/age/agessh): one argument, the tag of the key, and the file key by RSA-OAEP. The tag says
 * for whom it is; it proves nothing.
 */

export function wrapSshRsa(modulus: Uint8Array, fileKey: Uint8Array): { args: string[]; body: Uint8Array } {
  const tag = view(sshRsaTag(modulus)).toString('base64').replace(/=+$/, '')
  return { args: [sshRsaType, tag], body: encryptOaep(modulus, fileKey) }
}

/** The file key of the first stanza for this token, or `null` when there is none. Throws `HSM_ENVELOPE_INVALID`. */
export async function unwrapSshRsa(
  untrustedStanzas: readonly UntrustedStanza[],
  token: DecryptingKey,
): Promise<Uint8Array | null> {
  const ownTag = sshRsaTag(token.modulus)
  for (const { args, body } of untrustedStanzas) {
    const [type, tag] = args
    if (type !== sshRsaType) continue
    if (args.length !== 2 || tag === undefined)
      throw invalidStanza(`a ${sshRsaType} stanza of ${args.length - 1} arguments`)
    if (!equalConstantTime(decodeArgument(tag, ownTag.byteLength), ownTag)) continue
    if (body.byteLength !== token.modulus.byteLength)
      throw invalidStanza(
        `a ${sshRsaType} stanza of ${body.byteLength} bytes for a key of ${token.modulus.byteLength}`,
      )
    using fileKey = await token.decrypt(body)
    return fileKey.expose(bytes => bytes.slice())
  }
  return null
}
