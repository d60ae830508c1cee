import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { BaseError } from '../base/base-errors.ts'
import { printable } from '../base/errors.ts'
import { readAll } from '../base/reader.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { askPin, pinBytesMax, pinOfLine } from '../hsm/pin.ts'
import { askYes } from './ask.ts'

/* How a person in the HSM VM is asked about a release: at the terminal, or in a window of zenity or kdialog. */

export interface Asker {
  readonly yes: (described: readonly string[], question: string, signal: AbortSignal) => Promise<boolean>
  /** Of the token, unseen. `null`: none was given. Throws `HSM_PIN_INVALID`. */
  readonly pin: (signal: AbortSignal) => Promise<Secret | null>
}

const pinPrompt = 'PIN of the token: '

export const onTerminal: Asker = {
  yes: (described, question) => {
    console.error(`\n${described.join('\n')}`)
    return askYes(question)
  },
  pin: async signal =>
    process.stdin.isTTY
      ? await askPin(pinPrompt, { input: process.stdin, output: process.stderr }, signal)
      : null,
}

/** The words of both programs: they end with status 0 for a yes, 1 for a no, and write a password to standard output. */
const dialogs: Readonly<
  Record<string, { readonly yes: (text: string) => readonly string[]; readonly password: readonly string[] }>
> = {
  zenity: {
    yes: text => ['--question', '--no-markup', '--default-cancel', '--title=Strongroom', `--text=${text}`],
    password: ['--password', '--title=Strongroom: PIN of the token'],
  },
  kdialog: {
    yes: text => ['--title', 'Strongroom', '--warningyesno', text],
    password: ['--title', 'Strongroom', '--password', pinPrompt],
  },
}

/** Throws `FIELD_INVALID` for another program. */
export function inDialog(program: string): Asker {
  const words = dialogs[program]
  if (words === undefined)
    throw new BaseError(
      'FIELD_INVALID',
      `--dialog is ${Object.keys(dialogs).join(' or ')}, not '${printable(program)}'`,
    )
  return {
    yes: async (described, question, signal) =>
      (await shown(program, words.yes([...described, '', question].join('\n')), signal)) !== null,
    pin: async signal => (await shown(program, words.password, signal))?.parse(pinOfLine) ?? null,
  }
}

/** What the dialog has written; `null`: no, or closed. */
async function shown(
  program: string,
  words: readonly string[],
  signal: AbortSignal,
): Promise<Untrusted<Uint8Array> | null> {
  try {
    const child = spawn(program, words, { signal, stdio: ['ignore', 'pipe', 'ignore'] })
    const [output, [status]] = await Promise.all([
      // With room for a longer one, which is refused rather than cut off.
      readAll(child.stdout, 2 * pinBytesMax),
      once(child, 'close'),
    ])
    if (status === 0) return output
    if (status === 1) return null
    throw new Error(`it ended with ${status}`)
  } catch (cause) {
    throw new BaseError('FIELD_INVALID', `${program} could not ask`, { cause })
  }
}
