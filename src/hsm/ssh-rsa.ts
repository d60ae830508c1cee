import { view } from '../base/bytes.ts'
import { sha256 } from '../crypto/digest.ts'
import { isModulus } from './oaep.ts'

/* Public RSA keys as SSH writes them (RFC 4253, section 6.6), of exponent 65537 and 2048 to 4096 bits. */

/** Of the key, and of the stanza of age that is for it. */
export const sshRsaType = 'ssh-rsa'
const exponent = Buffer.of(1, 0, 1)
const tagLength = 4

/** `ssh-rsa AAAA…` */
export function sshRsaText(modulus: Uint8Array): string {
  return `${sshRsaType} ${sshRsaBlob(modulus).toString('base64')}`
}

/** The first bytes of the key's SHA-256, by which an `ssh-rsa` stanza says for whom it is. */
export function sshRsaTag(modulus: Uint8Array): Uint8Array {
  return sha256(sshRsaBlob(modulus)).subarray(0, tagLength)
}

/** The modulus of a line of a `.pub` file, with or without its comment; `null` for what is none that is taken here. */
export function parseSshRsa(untrustedText: string): Uint8Array | null {
  const [, encoded] =
    /^ssh-rsa ([A-Za-z0-9+/]{1,1000}={0,2})(?: [\x20-\x7e]{0,200})?$/.exec(untrustedText) ?? []
  if (encoded === undefined) return null
  const blob = Buffer.from(encoded, 'base64')
  const start = prefix().byteLength + 4
  // The modulus is an integer with a sign: one zero byte, then the highest bit set.
  const modulus = new Uint8Array(blob.subarray(start + 1))
  return isModulus(modulus) && sshRsaText(modulus) === `${sshRsaType} ${encoded}` ? modulus : null
}

function sshRsaBlob(modulus: Uint8Array): Buffer {
  return Buffer.concat([prefix(), field(Buffer.concat([Buffer.of(0), view(modulus)]))])
}

function prefix(): Buffer {
  return Buffer.concat([field(Buffer.from(sshRsaType)), field(exponent)])
}

function field(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.byteLength)
  return Buffer.concat([length, bytes])
}
