import { utf8 } from '../base/bytes.ts'

/*
 * Bech32 (BIP 173) as age uses it for recipients and identities. Works on bytes, not strings: an identity is a secret.
 * `null` is the answer to anything that is not Bech32; callers say what they expected.
 */

const alphabet = utf8('qpzry9x8gf2tvdw0s3jn54khce6mua7l')
const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]
const checksumLength = 6
const charactersMax = 90
const separator = 0x31

/** ASCII, in lower case. */
export function encodeBech32(prefix: string, bytes: Uint8Array): Uint8Array {
  const words = regroup(bytes, 8, 5, true) ?? []
  const head = expandPrefix(prefix)
  const check = polymod([...head, ...words, ...new Array<number>(checksumLength).fill(0)]) ^ 1
  for (let at = 0; at < checksumLength; at++) words.push((check >> (5 * (checksumLength - 1 - at))) & 31)
  const result = new Uint8Array(prefix.length + 1 + words.length)
  result.set(utf8(prefix))
  result[prefix.length] = separator
  words.forEach((word, at) => {
    result[prefix.length + 1 + at] = alphabet[word] ?? 0
  })
  words.fill(0)
  return result
}

/** The bytes behind `prefix`, in lower case, in a buffer of their own. */
export function decodeBech32(prefix: string, untrustedText: Uint8Array): Uint8Array | null {
  const head = prefix.length + 1
  if (untrustedText.byteLength > charactersMax || untrustedText.byteLength < head + checksumLength)
    return null
  if (utf8(`${prefix}1`).some((byte, at) => untrustedText[at] !== byte)) return null
  const words = Array.from(untrustedText.subarray(head), byte => alphabet.indexOf(byte))
  try {
    if (words.includes(-1) || polymod([...expandPrefix(prefix), ...words]) !== 1) return null
    return toBytes(regroup(words.slice(0, -checksumLength), 5, 8, false))
  } finally {
    words.fill(0)
  }
}

function toBytes(values: number[] | null): Uint8Array | null {
  if (values === null) return null
  const bytes = Uint8Array.from(values)
  values.fill(0)
  return bytes
}

function expandPrefix(prefix: string): number[] {
  const codes = [...utf8(prefix)]
  return [...codes.map(code => code >> 5), 0, ...codes.map(code => code & 31)]
}

function polymod(values: readonly number[]): number {
  let check = 1
  for (const value of values) {
    const top = check >>> 25
    check = ((check & 0x1ffffff) << 5) ^ value
    generator.forEach((term, at) => {
      if ((top >> at) & 1) check ^= term
    })
  }
  return check >>> 0
}

/** `null` when the bits left over are not zero padding. */
function regroup(values: Iterable<number>, from: number, to: number, pad: boolean): number[] | null {
  const result: number[] = []
  let pending = 0
  let bits = 0
  for (const value of values) {
    pending = ((pending << from) | value) & 0xfff
    bits += from
    while (bits >= to) {
      bits -= to
      result.push((pending >> bits) & ((1 << to) - 1))
    }
  }
  const rest = pending & ((1 << bits) - 1)
  if (pad) {
    if (bits > 0) result.push((rest << (to - bits)) & ((1 << to) - 1))
    return result
  }
  return bits < from && rest === 0 ? result : null
}
