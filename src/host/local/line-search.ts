/*
 * Looks for words in what a console says, as it comes, in memory that does not depend on what that is. A word is found within
 * one line, as a person would see it: escape sequences (ECMA-48: colours, titles) and control characters are left out.
 */

const [bell, tab, lineFeed, carriageReturn, cancel, substitute, escapeByte] = [
  0x07, 0x09, 0x0a, 0x0d, 0x18, 0x1a, 0x1b,
]
const firstVisible = 0x20
const erase = 0x7f

/** Of an escape sequence: what may come next. */
type Place = 'text' | 'escape' | 'parameters' | 'string'

export class LineSearch {
  readonly #words: readonly Word[]
  #place: Place = 'text'

  /** Throws `RangeError` for an empty word, which every line would contain. */
  constructor(words: readonly string[]) {
    this.#words = words.map(wordOf)
  }

  /** Whether the word at this index has been said. */
  hasFound(index: number): boolean {
    return this.#words[index]?.isFound ?? false
  }

  feed(untrustedBytes: Uint8Array): void {
    for (const byte of untrustedBytes) {
      if (byte === lineFeed || byte === carriageReturn) this.#endLine()
      else if (this.#isSeen(byte)) for (const word of this.#words) advance(word, byte)
    }
  }

  /** Also of a sequence that was never ended: it cannot hide more than its line. */
  #endLine(): void {
    this.#place = 'text'
    for (const word of this.#words) word.matched = 0
  }

  #isSeen(byte: number): boolean {
    if (byte === escapeByte) this.#place = 'escape'
    else if (byte === cancel || byte === substitute) this.#place = 'text'
    else if (this.#place === 'text') return byte === tab || (byte >= firstVisible && byte !== erase)
    else this.#place = placeAfter(this.#place, byte)
    return false
  }
}

function placeAfter(place: Exclude<Place, 'text'>, byte: number): Place {
  switch (place) {
    case 'escape':
      if (byte === 0x5b) return 'parameters'
      // ']', 'P', 'X', '^' and '_' begin strings, up to BEL or ESC \.
      if ([0x5d, 0x50, 0x58, 0x5e, 0x5f].includes(byte)) return 'string'
      return byte >= 0x20 && byte <= 0x2f ? 'escape' : 'text'
    case 'parameters':
      return byte >= 0x20 && byte <= 0x3f ? 'parameters' : 'text'
    case 'string':
      return byte === bell ? 'text' : 'string'
  }
}

/** Knuth, Morris and Pratt: each byte is looked at once, however it was meant to confuse. */
interface Word {
  readonly bytes: Uint8Array
  /** How much of the word's beginning is also the end of its first n bytes. */
  readonly borders: readonly number[]
  matched: number
  isFound: boolean
}

function wordOf(text: string): Word {
  if (text === '') throw new RangeError('an empty word')
  const bytes = new Uint8Array(Buffer.from(text, 'utf8'))
  const borders: number[] = [0]
  let matched = 0
  for (let at = 1; at < bytes.length; at += 1) {
    while (matched > 0 && bytes[at] !== bytes[matched]) matched = borders[matched - 1] ?? 0
    if (bytes[at] === bytes[matched]) matched += 1
    borders.push(matched)
  }
  return { bytes, borders, matched: 0, isFound: false }
}

function advance(word: Word, byte: number): void {
  const { bytes, borders } = word
  while (word.matched > 0 && byte !== bytes[word.matched]) word.matched = borders[word.matched - 1] ?? 0
  if (byte === bytes[word.matched]) word.matched += 1
  if (word.matched < bytes.length) return
  word.isFound = true
  word.matched = borders[word.matched - 1] ?? 0
}
