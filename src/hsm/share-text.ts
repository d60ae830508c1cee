import { HsmError } from './errors.ts'
import { type ShareSet, shareWords } from './recovery-shares.ts'
import { wordList } from './slip39/word-list.ts'

/* Shares as people and files write them: words in any case, in one line or several, with or without their numbers. */

/** What tells a word from all others. */
const lettersKnown = 4
const byFirstLetters = new Map(wordList.map((word, number) => [word.slice(0, lettersKnown), number]))

/**
 * The numbers of the words in a line. A word may be cut to its first four letters; counting numbers (`7`, `7.`) and lines that
 * begin with `#` are skipped. Throws `HSM_WORD_UNKNOWN`, which says where the word stands after `before` others, and not what
 * it is.
 */
export function parseWords(untrustedLine: string, before: number, share: number): readonly number[] {
  if (untrustedLine.trimStart().startsWith('#')) return []
  const untrustedWords = untrustedLine
    .toLowerCase()
    .split(/\s+/)
    .filter(word => word !== '' && !/^\d{1,2}[.:)]?$/.test(word))
  return untrustedWords.map((untrustedWord, at) => {
    const number = byFirstLetters.get(untrustedWord.slice(0, lettersKnown))
    const isWhole = untrustedWord.length === lettersKnown || wordList[number ?? -1] === untrustedWord
    if (number !== undefined && isWhole) return number
    throw new HsmError(
      'HSM_WORD_UNKNOWN',
      `share ${share}: word ${before + at + 1} is not in the list of words`,
    )
  })
}

/**
 * Adds all shares of a text to `set`. A share ends with the line that has its last word, and must have ended before an empty
 * line. Throws as `parseWords` and `ShareSet.add` do.
 */
export function addShares(set: ShareSet, untrustedText: string): void {
  const words: number[] = []
  for (const untrustedLine of [...untrustedText.split(/\r?\n/), '']) {
    words.push(...parseWords(untrustedLine, words.length, set.size + 1))
    const ends = words.length >= shareWords || (untrustedLine.trim() === '' && words.length > 0)
    if (ends) addWords(set, words.splice(0))
  }
}

/** Zeroes `words`. */
export function addWords(set: ShareSet, words: number[]): void {
  const numbers = Uint16Array.from(words)
  words.fill(0)
  try {
    set.add(numbers)
  } finally {
    numbers.fill(0)
  }
}
