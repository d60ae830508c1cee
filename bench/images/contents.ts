import { Random } from './random.ts'

/** What the files of a volume hold, in kinds that compress like the real ones. */

export const blockBytes = 4096
const textPoolBytes = 12 * 1024 * 1024
const wordsCount = 6000
const letters = 'etaoinshrdlucmfwypvbgkjqxz'

let paragraphs: readonly Buffer[] | null = null

/**
 * Text-like bytes, about 3:1. The paragraphs come from a pool larger than the window of the usual compressors, so that
 * the ratio is that of text and not of a loop.
 */
export function text(random: Random, length: number): Buffer {
  paragraphs ??= makeParagraphs()
  const parts: Buffer[] = []
  for (let bytes = 0; bytes < length; ) {
    const part = random.pick(paragraphs)
    parts.push(part)
    bytes += part.byteLength
  }
  return Buffer.concat(parts).subarray(0, length)
}

/** A page of a database, about 2:1: header, records that do not compress, text, free space. */
export function databasePage(random: Random, number: number): Buffer {
  const page = Buffer.alloc(blockBytes)
  page.writeUInt32BE(number >>> 0, 0)
  random.bytes(1400).copy(page, 16)
  text(random, 1700).copy(page, 1424)
  return page
}

/** A new version of a file, as a rebuilt library or an edited document: an insertion, and a third of the pages partly new. */
export function edited(random: Random, old: Buffer, inserted: Buffer): Buffer {
  const bytes = Buffer.from(old)
  for (let at = 0; at + 64 < bytes.byteLength; at += blockBytes)
    if (random.below(3) === 0)
      random.bytes(24).copy(bytes, at + random.below(Math.min(blockBytes, bytes.byteLength - at) - 32))
  const cut = random.below(bytes.byteLength + 1)
  return Buffer.concat([bytes.subarray(0, cut), inserted, bytes.subarray(cut)])
}

function makeParagraphs(): readonly Buffer[] {
  const random = new Random('text')
  const words = Array.from({ length: wordsCount }, () =>
    Array.from({ length: random.between(2, 9) }, () =>
      letters.charAt(Math.min(random.below(letters.length), random.below(letters.length))),
    ).join(''),
  )
  const made: Buffer[] = []
  for (let bytes = 0; bytes < textPoolBytes; ) {
    const paragraph = makeParagraph(random, words)
    made.push(paragraph)
    bytes += paragraph.byteLength
  }
  return made
}

/** Some words are frequent and most are rare. */
function makeParagraph(random: Random, words: readonly string[]): Buffer {
  const wanted = random.between(300, 2200)
  let paragraph = ''
  while (paragraph.length < wanted) {
    const rank = Math.floor((random.below(1e6) / 1e6) ** 3 * words.length)
    const separator = random.below(11) === 0 ? ', ' : random.below(60) === 0 ? ` ${random.below(1e9)} ` : ' '
    paragraph += words[rank] + separator
  }
  return Buffer.from(`${paragraph}\n`)
}
