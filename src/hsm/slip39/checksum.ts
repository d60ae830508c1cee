import { utf8 } from '../../base/bytes.ts'

/*
 * RS1024, the checksum of SLIP-0039: a Reed-Solomon code over GF(1024) whose last three words are check words. Up to three
 * wrong words are always noticed; one is found.
 */

export const checkWords = 3
export const wordBits = 10
const wordCount = 1 << wordBits
const generator = [
  0xe0e040, 0x1c1c080, 0x3838100, 0x7070200, 0xe0e0009, 0x1c0c2412, 0x38086c24, 0x3090fc48, 0x21b1f890,
  0x3f3f120,
]
/** Bit of the second word that says whether the set can be extended, which chooses the customization. */
const extendableWord = 1
const extendableBit = 0x10
const [start, startExtendable] = [continued(1, utf8('shamir')), continued(1, utf8('shamir_extendable'))]

/** The three words to put behind `words`. */
export function checkWordsOf(words: Uint16Array): Uint16Array {
  const padded = new Uint16Array(words.length + checkWords)
  padded.set(words)
  const check = polymod(padded) ^ 1
  padded.fill(0)
  return Uint16Array.from(
    { length: checkWords },
    (_, at) => (check >> (wordBits * (2 - at))) & (wordCount - 1),
  )
}

export function isChecked(words: Uint16Array): boolean {
  return polymod(words) === 1
}

/**
 * The place of the one word that is wrong, from 0; `null` when no single word is. It says where, and not which word belongs
 * there: the one who has the paper looks again, since a guess may fit a share with three wrong words.
 */
export function wrongWordOf(words: Uint16Array): number | null {
  const tried = words.slice()
  try {
    for (let place = 0; place < tried.length; place++) {
      const own = tried[place] ?? 0
      for (let word = 0; word < wordCount; word++) {
        tried[place] = word
        if (word !== own && isChecked(tried)) return place
      }
      tried[place] = own
    }
    return null
  } finally {
    tried.fill(0)
  }
}

function polymod(words: Uint16Array): number {
  const extendable = ((words[extendableWord] ?? 0) & extendableBit) !== 0
  return continued(extendable ? startExtendable : start, words)
}

function continued(from: number, values: Iterable<number>): number {
  let check = from
  for (const value of values) {
    let top = check >>> 20
    check = ((check & 0xfffff) << wordBits) ^ value
    for (let at = 0; top !== 0; at++, top >>>= 1) if (top & 1) check ^= generator[at] ?? 0
  }
  return check
}
