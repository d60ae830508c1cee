import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'

/*
 * Where the PIN comes from: a file that nobody else can read, or a person at a terminal. Never an argument or an
 * environment variable, which other processes can see.
 */

/** Fetched anew for each login, so that a replaced PIN needs no restart. The caller disposes of it. */
export type PinSource = () => Promise<Secret>

const pinBytesMin = 4
const pinBytesMax = 255
const modeOfOthers = 0o077

const [newline, carriageReturn, backspace, erase, interrupt, endOfInput] = [
  0x0a, 0x0d, 0x08, 0x7f, 0x03, 0x04,
]

/** The one line of a file with mode 0600 or stricter, owned by this process's user or root. */
export function pinFromFile(file: string): PinSource {
  return async () => {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(cause => {
      throw new HsmError(
        'HSM_PIN_UNAVAILABLE',
        `the PIN file ${printable(file)}: ${errnoOf(cause) ?? 'failed'}`,
        { cause },
      )
    })
    try {
      await requirePrivate(handle, file)
      const bytes = new Uint8Array(pinBytesMax + 2)
      const { bytesRead } = await handle.read(bytes, 0, bytes.byteLength, 0)
      return takePin(bytes, withoutNewline(bytes, bytesRead))
    } finally {
      await handle.close()
    }
  }
}

async function requirePrivate(handle: FileHandle, file: string): Promise<void> {
  // Of the open file: its name may mean another one by now.
  const { mode, uid } = await handle.stat()
  if ((mode & modeOfOthers) !== 0)
    throw new HsmError(
      'HSM_PIN_FILE_OPEN_TO_OTHERS',
      `the PIN file ${printable(file)} has mode 0${(mode & 0o777).toString(8)}; expected 0600`,
    )
  if (uid !== 0 && uid !== process.getuid?.())
    throw new HsmError(
      'HSM_PIN_FILE_OPEN_TO_OTHERS',
      `the PIN file ${printable(file)} belongs to user ${uid}`,
    )
}

/** A terminal's two ends, e.g. `process.stdin` and `process.stderr`. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean; setRawMode?(raw: boolean): unknown }
  readonly output: Writable
}

/** Asks once, without echo. Throws `HSM_PIN_UNAVAILABLE` without a terminal, `CANCELLED` at ^C. */
export async function askPin(prompt: string, { input, output }: Terminal): Promise<Secret> {
  if (!input.isTTY || input.setRawMode === undefined)
    throw new HsmError('HSM_PIN_UNAVAILABLE', 'standard input is no terminal')
  output.write(prompt)
  input.setRawMode(true)
  try {
    return await readLine(input)
  } finally {
    input.setRawMode(false)
    input.pause()
    output.write('\n')
  }
}

async function readLine(input: Readable): Promise<Secret> {
  const line = new Uint8Array(pinBytesMax + 1)
  let length = 0
  try {
    for (;;) {
      for (const byte of await nextBytes(input)) {
        if (byte === newline || byte === carriageReturn) return takePin(line, length)
        if (byte === interrupt || byte === endOfInput) throw new BaseError('CANCELLED', 'no PIN was given')
        if (byte === backspace || byte === erase) length = Math.max(0, length - 1)
        else if (length < line.byteLength) line[length++] = byte
      }
    }
  } finally {
    line.fill(0)
  }
}

function nextBytes(input: Readable): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new HsmError('HSM_PIN_UNAVAILABLE', 'the terminal was closed'))
    input.once('end', ended)
    input.once('data', (part: Buffer) => {
      input.off('end', ended)
      input.pause()
      resolve(part)
    })
    input.resume()
  })
}

function withoutNewline(bytes: Uint8Array, length: number): number {
  if (bytes[length - 1] !== newline) return length
  return bytes[length - 2] === carriageReturn ? length - 2 : length - 1
}

/** Zeroes `bytes`. Throws `HSM_PIN_INVALID`. */
function takePin(bytes: Uint8Array, length: number): Secret {
  try {
    const pin = bytes.subarray(0, length)
    if (length < pinBytesMin || length > pinBytesMax)
      throw new HsmError(
        'HSM_PIN_INVALID',
        `a PIN of ${length} bytes; expected ${pinBytesMin} to ${pinBytesMax}`,
      )
    if (pin.some(byte => byte < 0x20 || byte > 0x7e))
      throw new HsmError(
        'HSM_PIN_INVALID',
        'a PIN with bytes outside printable ASCII, perhaps of a second line',
      )
    return Secret.take(pin)
  } finally {
    bytes.fill(0)
  }
}
