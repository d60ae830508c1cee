import { spawn } from 'node:child_process'
import path from 'node:path'
import type { Readable } from 'node:stream'
import type { Bytes, Milliseconds } from '../base/brand.ts'
import { deadline } from '../base/environment.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { HostError } from './errors.ts'

/*
 * The one file of dom0 that starts programs. They are programs of the system, named by absolute paths, with arguments
 * that the code wrote: no shell, no search path, nothing inherited, an end to time and output.
 */

export interface Command {
  /** Absolute. */
  readonly program: string
  readonly arguments: readonly string[]
  /** An open file, which the program finds as /proc/self/fd/3 whatever happened to its name. */
  readonly file?: number
  readonly millisecondsMax: Milliseconds
  readonly outputBytesMax: Bytes
}

export interface Commands {
  /**
   * Standard output, as it comes. It may be believed only after the last part: then the program has ended with
   * status 0. Throws `COMMAND_FAILED`, or the signal's reason. Who stops reading ends the program.
   */
  output(command: Command, signal: AbortSignal): AsyncGenerator<Uint8Array>
}

const complaintLengthMax = 300

export const systemCommands: Commands = {
  async *output(command, signal) {
    const { program, file, millisecondsMax, outputBytesMax } = command
    signal.throwIfAborted()
    if (!path.isAbsolute(program)) throw failed(program, 'is not an absolute path')
    const late = deadline(millisecondsMax, () => failed(program, `took over ${millisecondsMax} ms`), signal)
    const child = spawn(program, command.arguments, {
      stdio: ['ignore', 'pipe', 'pipe', ...(file === undefined ? [] : [file])],
      env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      cwd: '/',
    })
    const { stdout, stderr } = child as unknown as { readonly stdout: Readable; readonly stderr: Readable }
    const complaint = beginningOf(stderr)
    const ended = new Promise<string | null>(resolve => {
      child.once('error', error => resolve(`cannot be started (${errnoOf(error)})`))
      child.once('close', (status, killed) =>
        resolve(status === 0 ? null : `ended with ${killed ?? `status ${status}`}: ${complaint()}`),
      )
    })
    const kill = () => child.kill('SIGKILL')
    late.addEventListener('abort', kill)
    try {
      let bytes = 0
      for await (const part of stdout as AsyncIterable<Uint8Array>) {
        late.throwIfAborted()
        bytes += part.byteLength
        if (bytes > outputBytesMax) throw failed(program, `said more than ${outputBytesMax} bytes`)
        yield part
      }
      const fault = await ended
      late.throwIfAborted()
      if (fault !== null) throw failed(program, fault)
    } finally {
      late.removeEventListener('abort', kill)
      kill()
    }
  },
}

/** The whole output as text, for short ones. */
export async function textOf(commands: Commands, command: Command, signal: AbortSignal): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of commands.output(command, signal)) parts.push(part)
  return Buffer.concat(parts).toString('utf8')
}

/** Lines without their ends, the last one with or without one. One longer than `lengthMax` throws `COMMAND_FAILED`. */
export async function* linesOf(parts: AsyncIterable<Uint8Array>, lengthMax: number): AsyncGenerator<string> {
  const tooLong = () => new HostError('COMMAND_FAILED', `a line of over ${lengthMax} characters`)
  let rest = ''
  for await (const part of parts) {
    const lines = (
      rest + Buffer.from(part.buffer, part.byteOffset, part.byteLength).toString('latin1')
    ).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.length > lengthMax) throw tooLong()
      yield line
    }
    if (rest.length > lengthMax) throw tooLong()
  }
  if (rest !== '') yield rest
}

/** Reads all, so that the program never waits, and keeps the first few words. */
function beginningOf(stream: Readable): () => string {
  let text = ''
  stream.on('data', (part: Uint8Array) => {
    if (text.length < complaintLengthMax) text += Buffer.from(part).toString('latin1')
  })
  stream.on('error', () => {})
  return () => printable(text.slice(0, complaintLengthMax)).trim()
}

function failed(program: string, why: string): HostError {
  return new HostError('COMMAND_FAILED', `${program} ${why}`)
}
