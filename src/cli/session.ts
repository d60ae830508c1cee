import type { Command } from 'commander'
import { errorKinds, printable, reportOf } from '../base/errors.ts'
import { parseAddress, readToken } from './address.ts'
import { ApiClient } from './client.ts'
import type { CliIo } from './io.ts'
import { type Style, styleFor } from './style.ts'

const apiDefault = 'unix:/run/strongroom/api.sock'
const tokenFileDefault = '/etc/strongroom/api.token'
/** Of the objects that `--json` prints; a change that breaks readers raises it. */
const jsonVersion = 1

interface GlobalOptions {
  readonly api?: string
  readonly tokenFile?: string
  readonly json?: boolean
  readonly quiet?: boolean
}

/** Where one run of one command prints. */
export interface Printer {
  readonly io: CliIo
  readonly json: boolean
  readonly quiet: boolean
  readonly style: Style
  /** The result: text for people, or with `--json` one line. */
  result(type: string, value: object, text: string): void
  /** A line beside the result; not with `--quiet`, nor with `--json`. */
  note(text: string): void
}

/** The same with the API that it talks to. */
export interface Session extends Printer {
  readonly api: ApiClient
}

/** By what the options of `command` say. */
export function printerFor(io: CliIo, command: Command): Printer {
  const { json = false, quiet = false } = command.optsWithGlobals<GlobalOptions>()
  return {
    io,
    json,
    quiet,
    style: styleFor(io.stdout, io),
    result: (type, value, text) => io.stdout.write(json ? jsonLine(type, value) : text),
    note: text => {
      if (!json && !quiet) io.stderr.write(`${text}\n`)
    },
  }
}

/** Runs `use` with what the options and variables of `command` say, and zeroes the token at the end. */
export async function withSession(
  io: CliIo,
  command: Command,
  use: (session: Session) => Promise<void>,
): Promise<void> {
  const { api, tokenFile } = command.optsWithGlobals<GlobalOptions>()
  const address = parseAddress(api ?? io.variables.STRONGROOM_API ?? apiDefault)
  using token = await readToken(tokenFile ?? io.variables.STRONGROOM_TOKEN_FILE ?? tokenFileDefault)
  await use({ ...printerFor(io, command), api: new ApiClient(address, token) })
}

export function jsonLine(type: string, value: object): string {
  return `${JSON.stringify({ v: jsonVersion, type, ...value })}\n`
}

/** Tells what went wrong, and answers the exit code. */
export function reportFailure(io: CliIo, error: unknown, json: boolean): number {
  const { code, kind, message, hint } = reportOf(error)
  const { exit } = errorKinds[kind]
  if (json) io.stderr.write(jsonLine('error', { code, kind, message, hint, exit }))
  else {
    const { bad, faint } = styleFor(io.stderr, io)
    io.stderr.write(
      `${bad('error:')} ${printable(message)} ${faint(`[${code}]`)}\nhint: ${printable(hint)}\n`,
    )
  }
  return exit
}
