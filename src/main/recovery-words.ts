import { BaseError } from '../base/base-errors.ts'
import { KiB } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { readBounded } from '../base/files.ts'
import { readAll } from '../base/reader.ts'
import type { RecoveryKey } from '../hsm/recovery.ts'
import { faultOf, ShareSet, shareWords } from '../hsm/recovery-shares.ts'
import { addShares, addWords, parseWords } from '../hsm/share-text.ts'
import { AskedLines, clearTerminal } from './ask.ts'

/* Words of shares, from files or as people type them: share by share, until there are enough. Never from an argument. */

const textBytesMax = 64 * KiB

/** Whether a person is asked for as many shares as make the key, or for all there are. */
export type Amount = 'enough' | 'all'

/**
 * The recovery key of the shares in `files`, of which `-` is the standard input: at a terminal they are asked for. Throws what is
 * wrong with a share or all of them (`HSM_WORD_UNKNOWN`, `HSM_SHARE_…`, `HSM_SHARES_…`), and `CANCELLED` at ^C.
 */
export async function keyFromWords(files: readonly string[], amount: Amount): Promise<RecoveryKey> {
  using set = new ShareSet()
  for (const file of files)
    if (file === '-' && process.stdin.isTTY) await askShares(set, amount)
    else await readShares(set, file)
  return await set.join()
}

async function readShares(set: ShareSet, file: string): Promise<void> {
  const text =
    file === '-' ? await readAll(process.stdin, textBytesMax) : await readBounded(file, textBytesMax)
  // Without its name: whoever takes words for an argument must not find them in a log as well.
  if (text === null)
    throw new BaseError('FIELD_INVALID', 'a file that --words names is not there', {
      hint: '--words takes files; words themselves are typed, or read from standard input (--words -)',
    })
  text.parse(untrustedBytes => {
    addShares(set, Buffer.from(untrustedBytes).toString('latin1'))
    untrustedBytes.fill(0)
  })
}

/** Every mistake is told at once, where it can still be seen on the card. */
async function askShares(set: ShareSet, amount: Amount): Promise<void> {
  using lines = new AskedLines()
  say(
    'Type the words of a share, as many in a line as you like; the first four letters of a word are enough.',
  )
  for (let ended = false; !ended; ) {
    const isLast = set.size > 0 && set.missing === 0
    const words = await askWords(lines, set.size + 1, isLast)
    if (words === null) return
    clearTerminal()
    if (tried(() => addWords(set, words)))
      say(`share ${set.size} is good${set.missing > 0 ? `; ${set.missing} more` : ''}`)
    ended = amount === 'enough' && set.size > 0 && set.missing === 0
  }
}

/** All words of a share, whose check words fit. `null`: there is none, where `mayEnd`. */
async function askWords(lines: AskedLines, share: number, mayEnd: boolean): Promise<number[] | null> {
  const words: number[] = []
  for (;;) {
    while (words.length < shareWords) {
      const ends = mayEnd && words.length === 0
      const line = await lines.ask(
        `share ${share}, word ${words.length + 1}${ends ? ' (Enter: there is no other)' : ''}: `,
      )
      if (ends && line.trim() === '') return null
      tried(() => words.push(...newWords(line, words.length, share)))
    }
    const numbers = Uint16Array.from(words)
    const wrong = faultOf(numbers)
    numbers.fill(0)
    if (wrong === undefined) return words
    if (wrong === null) {
      say(`two words or more of share ${share} are not the printed ones: once more, from the first`)
      words.fill(0)
      words.length = 0
    } else {
      const line = await lines.ask(`word ${wrong + 1} is not the printed one. Word ${wrong + 1}: `)
      tried(() => {
        const [word, ...more] = parseWords(line, wrong, share)
        if (word !== undefined && more.length === 0) words[wrong] = word
      })
    }
  }
}

/** All words of the line, or none. */
function newWords(line: string, before: number, share: number): readonly number[] {
  const found = parseWords(line, before, share)
  if (before + found.length <= shareWords) return found
  throw new BaseError('FIELD_INVALID', `that line goes beyond word ${shareWords}, the last of a share`)
}

/** Whether it went well; says why not. */
function tried(work: () => void): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    say(`${error.message}: ${error.hint}`)
    return false
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
