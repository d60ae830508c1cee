import { checkWords, checkWordsOf, isChecked, wordBits } from './checksum.ts'
import type { CipherParameters } from './cipher.ts'

/*
 * A share of SLIP-0039 (https://github.com/satoshilabs/slips/blob/master/slip-0039.md) as numbers of words: 40 bits that say
 * what it is, the value, three check words.
 */

const headerWords = 4
const valueBytesMin = 16

export interface Share extends CipherParameters {
  /** Of groups of shares; 1 of 1 where there are none. */
  readonly group: { readonly index: number; readonly threshold: number; readonly count: number }
  /** Which share it is, from 0. */
  readonly index: number
  /** How many of them make the secret. */
  readonly threshold: number
  /** Encrypted, and a point of the polynomial at `index`. */
  readonly value: Uint8Array
}

export type ShareFault = 'length' | 'checksum' | 'form'

/** How many words a share of a secret with so many bytes has. */
export function wordCountOf(secretBytes: number): number {
  return headerWords + Math.ceil((secretBytes * 8) / wordBits) + checkWords
}

export function encodeShare({ identifier, extendable, exponent, group, ...share }: Share): Uint16Array {
  const bits = [
    ...bitsOf(identifier, 15),
    ...bitsOf(Number(extendable), 1),
    ...[
      exponent,
      group.index,
      group.threshold - 1,
      group.count - 1,
      share.index,
      share.threshold - 1,
    ].flatMap(one => bitsOf(one, 4)),
  ]
  const valueBits = [...share.value].flatMap(byte => bitsOf(byte, 8))
  const padding = new Array<number>((wordBits - (valueBits.length % wordBits)) % wordBits).fill(0)
  const body = wordsOf([...bits, ...padding, ...valueBits])
  const words = new Uint16Array(body.length + checkWords)
  words.set(body)
  words.set(checkWordsOf(body), body.length)
  body.fill(0)
  valueBits.fill(0)
  return words
}

/** `words` are numbers below 1024. */
export function decodeShare(words: Uint16Array): Share | ShareFault {
  const valueBits = (words.length - headerWords - checkWords) * wordBits
  const padding = valueBits % 16
  if (valueBits - padding < valueBytesMin * 8 || padding > 8) return 'length'
  if (!isChecked(words)) return 'checksum'
  const bits = [...words].flatMap(word => bitsOf(word, wordBits))
  const take = (count: number) => bits.splice(0, count).reduce((value, bit) => 2 * value + bit, 0)
  const [identifier, extendable, exponent] = [take(15), take(1) === 1, take(4)]
  const group = { index: take(4), threshold: take(4) + 1, count: take(4) + 1 }
  const [index, threshold] = [take(4), take(4) + 1]
  if (group.threshold > group.count || group.index >= group.count || take(padding) !== 0) return 'form'
  const value = Uint8Array.from({ length: (valueBits - padding) / 8 }, () => take(8))
  bits.fill(0)
  return { identifier, extendable, exponent, group, index, threshold, value }
}

function bitsOf(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => (value >> (count - 1 - at)) & 1)
}

function wordsOf(bits: readonly number[]): Uint16Array {
  return Uint16Array.from({ length: bits.length / wordBits }, (_, at) =>
    bits.slice(at * wordBits, (at + 1) * wordBits).reduce((value, bit) => 2 * value + bit, 0),
  )
}
