import { fromBase64, KiB, toBase64, toHex, utf8, view } from '../base/bytes.ts'
import { CodedError, printable } from '../base/errors.ts'
import { sha256 } from '../crypto/digest.ts'
import { ed25519PublicKeyLength } from '../crypto/signature.ts'
import { LedgerError } from './errors.ts'

/*
 * Signed notes: https://c2sp.org/signed-note@v1.0.0. A text, a blank line, and lines `— <key name> base64(key id ||
 * signature)`. The format only: `checkpoint.ts` verifies, `signing.ts` signs.
 */

export const noteBytesMax = 64 * KiB
const signatureLineBytesMax = 8 * KiB
const signaturesMax = 64
const keyIdBytes = 4

/** The signature types used here, by the byte that names them in key ids and verifier keys. */
const typeBytes = { ed25519: 0x01, 'cosignature/v1': 0x04 } as const
export type SignatureType = keyof typeof typeBytes

/** Who is believed to have signed: name and type are part of the key's id, so that no key has two meanings. */
export interface VerifierKey {
  readonly name: string
  readonly type: SignatureType
  /** 32 bytes, RFC 8032. */
  readonly publicKey: Uint8Array
  readonly id: Uint8Array
}

export interface NoteSignature {
  readonly name: string
  readonly keyId: Uint8Array
  readonly signature: Uint8Array
}

export interface Note {
  /** What is signed, with its last newline. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

export function verifierKey(name: string, type: SignatureType, publicKey: Uint8Array): VerifierKey {
  parseKeyName(name)
  if (publicKey.byteLength !== ed25519PublicKeyLength)
    throw invalid(`a public key of ${publicKey.byteLength} bytes; expected ${ed25519PublicKeyLength}`)
  const named = Buffer.concat([utf8(`${name}\n`), Uint8Array.of(typeBytes[type]), publicKey])
  return { name, type, publicKey: publicKey.slice(), id: sha256(named).slice(0, keyIdBytes) }
}

/** `<name>+<key id in hex>+<base64 of type and public key>`, as in the configuration of other tools. */
export function formatVerifierKey({ name, type, publicKey, id }: VerifierKey): string {
  return `${name}+${toHex(id)}+${toBase64(Buffer.concat([Uint8Array.of(typeBytes[type]), publicKey]))}`
}

export function parseVerifierKey(untrustedText: string): VerifierKey {
  const [, name, id, material] =
    /^([^+]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{1,64})$/.exec(untrustedText) ?? []
  if (name === undefined || material === undefined) throw invalid('a verifier key is <name>+<id>+<base64>')
  const bytes = decode(material, 'the key material of a verifier key')
  const type = (Object.keys(typeBytes) as SignatureType[]).find(one => typeBytes[one] === bytes[0])
  if (type === undefined) throw invalid(`a verifier key of the unknown type ${bytes[0]}`)
  const key = verifierKey(name, type, bytes.subarray(1))
  if (toHex(key.id) !== id) throw invalid(`the id of a verifier key is ${toHex(key.id)}; it says ${id}`)
  return key
}

/** Origins and key names: printable ASCII without space and plus. The specification allows more; nobody needs it. */
export function parseKeyName(untrustedName: string): string {
  if (!/^[\x21-\x2a\x2c-\x7e]{1,200}$/.test(untrustedName))
    throw invalid(
      `'${printable(untrustedName).slice(0, 80)}' is no key name; expected 1 to 200 ASCII characters without space and plus`,
    )
  return untrustedName
}

export function parseNote(untrustedText: string): Note {
  const bytes = utf8(untrustedText).byteLength
  if (bytes > noteBytesMax) throw invalid(`a note of ${bytes} bytes; at most ${noteBytesMax} are read`)
  // The specification forbids control characters; a lone surrogate would not survive as UTF-8.
  if (!untrustedText.isWellFormed() || /[\x00-\x09\x0b-\x1f]/.test(untrustedText))
    throw invalid('a note with control characters or broken text')
  const blank = untrustedText.lastIndexOf('\n\n')
  if (blank < 0 || !untrustedText.endsWith('\n'))
    throw invalid('a note without text, blank line and signatures')
  const lines = untrustedText.slice(blank + 2, -1).split('\n')
  if (lines.length > signaturesMax)
    throw invalid(`a note with ${lines.length} signatures; at most ${signaturesMax} are read`)
  return {
    text: untrustedText.slice(0, blank + 1),
    signatures: lines.map(line => parseSignatureLine(`${line}\n`)),
  }
}

/** One line with its newline. The name may be any that the specification allows: lines of unknown keys are kept. */
export function parseSignatureLine(untrustedLine: string): NoteSignature {
  if (untrustedLine.length > signatureLineBytesMax) throw invalid('a signature line that is too long')
  const [, name, encoded] = /^\u2014 ([^\s+]{1,200}) ([A-Za-z0-9+/=]+)\n$/u.exec(untrustedLine) ?? []
  if (name === undefined || encoded === undefined)
    throw invalid('a signature line that is not `— <key name> <base64>`')
  const bytes = decode(encoded, 'a signature')
  if (bytes.byteLength <= keyIdBytes) throw invalid('a signature line without a signature')
  return { name, keyId: bytes.slice(0, keyIdBytes), signature: bytes.slice(keyIdBytes) }
}

export function formatSignatureLine({ name, keyId, signature }: NoteSignature): string {
  return `\u2014 ${name} ${toBase64(Buffer.concat([keyId, signature]))}\n`
}

export function formatNote({ text, signatures }: Note): string {
  return `${text}\n${signatures.map(formatSignatureLine).join('')}`
}

/** Name and id together: the same name with another id is another key, whose lines are ignored. */
export function isBy(signature: NoteSignature, key: VerifierKey): boolean {
  return signature.name === key.name && view(signature.keyId).equals(view(key.id))
}

function decode(untrustedText: string, what: string): Uint8Array {
  try {
    return fromBase64(untrustedText)
  } catch (cause) {
    if (cause instanceof CodedError) throw invalid(`${what} is not canonical base64`, cause)
    throw cause
  }
}

function invalid(message: string, cause?: unknown): LedgerError {
  return new LedgerError('LEDGER_NOTE_INVALID', message, { cause })
}
