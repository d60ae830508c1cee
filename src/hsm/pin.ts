import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { errnoOf, printable } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { askUnseen, type Terminal } from '../base/terminal.ts'
import { HsmError } from './errors.ts'

/*
 * Where the PIN comes from: a file that nobody else can read, a credential of the service manager, or a person at a terminal.
 * Never an argument or an environment variable, which other processes can see.
 */

export interface PinSource {
  /** A person is asked each time that a PIN is wanted: what she types is given anew. */
  readonly isAttended: boolean
  /**
   * Asked at each login. The caller disposes of what it is given. Throws the signal's reason when a person has not
   * answered by then, else an `HsmError` or `CANCELLED`; the next call begins anew.
   */
  fetch(signal: AbortSignal): Promise<Secret>
  /** The token did not accept the PIN that was fetched last. */
  refused(): void
}

/** One that was given already, which stays its owner's. Once the token has refused it, it is not to be sent again. */
export function givenPin(pin: Secret): PinSource {
  return {
    isAttended: false,
    fetch: async () => Secret.take(pin.expose(bytes => bytes.slice())),
    refused() {},
  }
}

const pinBytesMin = 4
export const pinBytesMax = 255
const modeOfOthers = 0o077
const modeOfGroupToRead = 0o040

const [newline, carriageReturn] = [0x0a, 0x0d]

/**
 * The one line of a file with mode 0600 or stricter, owned by this process's user or root. Read anew for each login, so
 * that a replaced PIN needs no restart.
 */
export function pinFromFile(file: string): PinSource {
  return { isAttended: false, fetch: () => readPin(file, requirePrivate), refused() {} }
}

/**
 * What systemd hands over by `LoadCredential=` or `LoadCredentialEncrypted=`: a file in its directory for this service.
 * The directory is the service's alone; the file itself has the mode 0400, or 0440 where an access control list names the
 * user of the service, which `stat` shows as the rights of the group.
 */
export function pinFromCredential(file: string): PinSource {
  return { isAttended: false, fetch: () => readPin(file, requireCredential), refused() {} }
}

async function readPin(
  file: string,
  requireSafe: (handle: FileHandle, file: string) => Promise<void>,
): Promise<Secret> {
  // O_NONBLOCK: a pipe in its place must not hold the call that needs the PIN.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const handle = await open(file, flags).catch(cause => {
    throw new HsmError(
      'HSM_PIN_UNAVAILABLE',
      `the PIN file ${printable(file)}: ${errnoOf(cause) ?? 'failed'}`,
      { cause },
    )
  })
  try {
    await requireSafe(handle, file)
    const bytes = new Uint8Array(pinBytesMax + 2)
    const { bytesRead } = await handle.read(bytes, 0, bytes.byteLength, 0)
    return takePin(bytes, withoutNewline(bytes, bytesRead))
  } finally {
    await handle.close()
  }
}

function requirePrivate(handle: FileHandle, file: string): Promise<void> {
  return requireMode(handle, file, modeOfOthers)
}

function requireCredential(handle: FileHandle, file: string): Promise<void> {
  return requireMode(handle, file, modeOfOthers & ~modeOfGroupToRead)
}

/** `refused`: the rights that nobody but the owner may have. */
async function requireMode(handle: FileHandle, file: string, refused: number): Promise<void> {
  // Of the open file: its name may mean another one by now.
  const found = await handle.stat()
  const { mode, uid } = found
  if (!found.isFile())
    throw new HsmError('HSM_PIN_UNAVAILABLE', `the PIN file ${printable(file)} is no plain file`)
  if ((mode & refused) !== 0)
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

/**
 * A person at a terminal, asked when the PIN is first needed. What the token accepts is kept for as long as the process
 * runs; after a refusal the person is asked again.
 */
export function pinFromTerminal(prompt: string, terminal: Terminal): PinSource {
  let kept: Secret | null = null
  return {
    isAttended: true,
    async fetch(signal) {
      kept ??= await askPin(prompt, terminal, signal)
      return Secret.take(kept.expose(bytes => bytes.slice()))
    },
    refused() {
      kept?.dispose()
      kept = null
    },
  }
}

/** Asks once, without echo. Throws `HSM_PIN_INVALID`, `HSM_PIN_UNAVAILABLE` without a terminal, `CANCELLED` at ^C. */
export async function askPin(prompt: string, terminal: Terminal, signal: AbortSignal): Promise<Secret> {
  // One byte more than the longest, so that a longer one is refused rather than cut off.
  using line = await askUnseen(prompt, terminal, pinBytesMax + 1, signal)
  if (line === null) throw new HsmError('HSM_PIN_UNAVAILABLE', 'there is no terminal to ask on')
  return line.expose(bytes => takePin(bytes, bytes.byteLength))
}

/** A line that a program has written, which is zeroed. Throws `HSM_PIN_INVALID`. */
export function pinOfLine(bytes: Uint8Array): Secret {
  return takePin(bytes, withoutNewline(bytes, bytes.byteLength))
}

function withoutNewline(bytes: Uint8Array, length: number): number {
  if (bytes[length - 1] !== newline) return length
  return bytes[length - 2] === carriageReturn ? length - 2 : length - 1
}

/** Zeroes `bytes`. Throws `HSM_PIN_INVALID`. */
export function takePin(bytes: Uint8Array, length: number): Secret {
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
