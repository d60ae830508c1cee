import { createInterface } from 'node:readline/promises'
import { BaseError } from '../base/base-errors.ts'
import type { Secret } from '../base/secret.ts'
import { askUnseen } from '../base/terminal.ts'

const secretBytesMax = 1024

/** A question on the terminal; only `yes` is yes. Without a terminal the answer is no. Throws `CANCELLED` at ^C and ^D. */
export async function askYes(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return (await terminal.question(`${question} [yes/no] `)).trim() === 'yes'
  } catch (cause) {
    // Neither a yes nor a no: a release that is asked about goes on waiting.
    if (cause instanceof Error && cause.name === 'AbortError')
      throw new BaseError('CANCELLED', 'nothing was answered', { cause, hint: 'run the command again' })
    throw cause
  } finally {
    terminal.close()
  }
}

/** Lines that are seen as they are typed, one after another; what is typed or pasted ahead is not lost. */
export class AskedLines implements Disposable {
  readonly #terminal = createInterface({ input: process.stdin, output: process.stderr, historySize: 0 })
  readonly #lines = this.#terminal[Symbol.asyncIterator]()

  /** Throws `CANCELLED` at ^C and ^D. */
  async ask(question: string): Promise<string> {
    this.#terminal.setPrompt(question)
    this.#terminal.prompt()
    const line = await this.#lines.next()
    if (line.done !== true) return line.value
    throw new BaseError('CANCELLED', 'nothing more was typed in', { hint: 'run the command again' })
  }

  [Symbol.dispose](): void {
    this.#terminal.close()
  }
}

/** The screen, and what was scrolled off it. */
export function clearTerminal(): void {
  process.stderr.write('\x1b[H\x1b[2J\x1b[3J')
}

/** A line typed without echo. Throws `FIELD_INVALID` when there is no terminal to ask on, `CANCELLED` at ^C. */
export async function askSecret(question: string): Promise<Secret> {
  const terminal = { input: process.stdin, output: process.stderr }
  const secret = await askUnseen(`${question}: `, terminal, secretBytesMax)
  if (secret !== null) return secret
  throw new BaseError('FIELD_INVALID', 'no terminal to ask on', {
    hint: 'run the command on a terminal; a script takes keys without a passphrase (--no-passphrase), or in a token with --pin-file',
  })
}
