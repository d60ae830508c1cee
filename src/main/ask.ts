import { createInterface } from 'node:readline/promises'
import { BaseError } from '../base/base-errors.ts'
import { Secret } from '../base/secret.ts'

const secretBytesMax = 1024

/** A question on the terminal; only `yes` is yes. Without a terminal the answer is no. */
export async function askYes(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) return false
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return (await terminal.question(`${question} [yes/no] `)).trim() === 'yes'
  } finally {
    terminal.close()
  }
}

/** A line typed without echo. Throws `FIELD_INVALID` when there is no terminal to ask on. */
export async function askSecret(question: string): Promise<Secret> {
  const { stdin, stderr } = process
  if (!stdin.isTTY)
    throw new BaseError('FIELD_INVALID', 'no terminal to ask on', {
      hint: 'name a file with the secret instead',
    })
  stderr.write(`${question}: `)
  const typed = new Uint8Array(secretBytesMax)
  let length = 0
  stdin.setRawMode(true)
  stdin.resume()
  try {
    for await (const part of stdin as AsyncIterable<Buffer>)
      for (const byte of part) {
        if (byte === 0x03) throw new BaseError('CANCELLED', 'interrupted')
        if (byte === 0x0d || byte === 0x0a) return Secret.take(typed.slice(0, length))
        if (byte === 0x7f || byte === 0x08) length = Math.max(0, length - 1)
        else if (length < secretBytesMax) typed[length++] = byte
      }
    throw new BaseError('CANCELLED', 'the terminal was closed')
  } finally {
    typed.fill(0)
    stdin.setRawMode(false)
    stdin.pause()
    stderr.write('\n')
  }
}
