import type { Readable, Writable } from 'node:stream'
import { BaseError } from './base-errors.ts'
import { Secret } from './secret.ts'

/** A terminal's two ends, e.g. `process.stdin` and `process.stderr`. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown }
  readonly output: Writable
}

const [newline, carriageReturn, backspace, erase, interrupt, endOfInput] = [
  0x0a, 0x0d, 0x08, 0x7f, 0x03, 0x04,
]

/**
 * A line typed without echo; what is longer than `bytesMax` is cut off. `null`: there is no terminal, or it was closed.
 * Throws `CANCELLED` at ^C and ^D, and the signal's reason when nobody has answered by then.
 */
export async function askUnseen(
  prompt: string,
  { input, output }: Terminal,
  bytesMax: number,
  signal?: AbortSignal,
): Promise<Secret | null> {
  if (!input.isTTY || input.setRawMode === undefined) return null
  signal?.throwIfAborted()
  // Before anyone is asked: what is typed at once must not be seen either.
  input.setRawMode(true)
  output.write(prompt)
  try {
    return await readLine(input, bytesMax, signal)
  } finally {
    input.setRawMode(false)
    input.pause()
    output.write('\n')
  }
}

async function readLine(
  input: Readable,
  bytesMax: number,
  signal: AbortSignal | undefined,
): Promise<Secret | null> {
  const line = new Uint8Array(bytesMax)
  let length = 0
  try {
    for (let part = await nextBytes(input, signal); part !== null; part = await nextBytes(input, signal))
      try {
        for (const byte of part) {
          if (byte === newline || byte === carriageReturn) return Secret.take(line.subarray(0, length))
          if (byte === interrupt || byte === endOfInput)
            throw new BaseError('CANCELLED', 'nothing was typed in')
          if (byte === backspace || byte === erase) length = Math.max(0, length - 1)
          else if (length < bytesMax) line[length++] = byte
        }
      } finally {
        part.fill(0)
      }
    return null
  } finally {
    line.fill(0)
  }
}

/** `null`: there will be no more. */
function nextBytes(input: Readable, signal: AbortSignal | undefined): Promise<Uint8Array | null> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      input.off('end', onEnd).off('data', onData)
      signal?.removeEventListener('abort', onAbort)
      input.pause()
      act()
    }
    const onEnd = () => settle(() => resolve(null))
    const onData = (part: Buffer) => settle(() => resolve(part))
    const onAbort = () => settle(() => reject(signal?.reason))
    input.once('end', onEnd).once('data', onData)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    else input.resume()
  })
}
