import { createHmac } from 'node:crypto'
import { equalConstantTime, utf8 } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { p256PointLength } from '../crypto/signature.ts'
import { openHpke } from './hpke.ts'
import { compressPoint, isPoint } from './recipients.ts'
import { decodeArgument, invalidStanza, type UntrustedStanza } from './stanza.ts'
import type { AgreeingKey } from './token-key.ts'

/*
 * The `p256tag` stanza of age (https://c2sp.org/age): arguments tag and encapsulated point, body the file key sealed by
 * HPKE. The tag lets a token see what is for it before it is asked to work; it proves nothing.
 */

export const taggedType = 'p256tag'
const label = utf8('age-encryption.org/p256tag')
const tagLength = 4
const bodyLength = 32

/** The file key of the first stanza for this token, or `null` when there is none. Throws `HSM_ENVELOPE_INVALID`. */
export async function unwrapTagged(
  untrustedStanzas: readonly UntrustedStanza[],
  token: AgreeingKey,
): Promise<Uint8Array | null> {
  for (const { args, body } of untrustedStanzas) {
    if (args[0] !== taggedType) continue
    const [, tag, encapsulated] = args
    if (
      args.length !== 3 ||
      tag === undefined ||
      encapsulated === undefined ||
      body.byteLength !== bodyLength
    )
      throw invalidStanza(
        `a ${taggedType} stanza of ${args.length - 1} arguments and ${body.byteLength} bytes`,
      )
    const peerPoint = decodeArgument(encapsulated, p256PointLength)
    if (!equalConstantTime(decodeArgument(tag, tagLength), tagOf(peerPoint, token.point))) continue
    return await unwrap(peerPoint, body, token)
  }
  return null
}

async function unwrap(peerPoint: Uint8Array, body: Uint8Array, token: AgreeingKey): Promise<Uint8Array> {
  if (!isPoint(peerPoint)) throw invalidStanza('the point of a stanza is not on the curve')
  using shared = await token.agree(peerPoint)
  const fileKey = shared.expose(bytes =>
    openHpke(bytes, { encapsulated: peerPoint, recipient: token.point, info: label, ciphertext: body }),
  )
  if (fileKey === null) throw invalidStanza('the stanza for this token does not open')
  return fileKey
}

/** HKDF-Extract with the label as salt, cut to four bytes. */
function tagOf(encapsulated: Uint8Array, point: Uint8Array): Uint8Array {
  const recipientHash = sha256(compressPoint(point)).subarray(0, tagLength)
  return createHmac('sha256', label)
    .update(encapsulated)
    .update(recipientHash)
    .digest()
    .subarray(0, tagLength)
}
