import { Command } from 'commander'
import type { CliIo } from '../io.ts'
import { type Printer, printerFor, type Session, withSession } from '../session.ts'

export interface CommandText {
  /** Name and arguments, as commander reads them. */
  readonly usage: string
  readonly summary: string
  readonly examples: readonly string[]
}

/** What every command file exports: adds its command to a parent. */
export type AddCommand = (parent: Command, io: CliIo) => void

export function describe({ usage, summary, examples }: CommandText): Command {
  const command = new Command(usage.split(' ')[0]).summary(summary).description(summary)
  for (const argument of usage.split(' ').slice(1)) command.argument(argument)
  return command
    .helpCommand(false)
    .addHelpText('after', `\nExamples:\n${examples.map(line => `  $ ${line}\n`).join('')}`)
}

/** The action of a command that talks to the API. */
export function act<Options>(
  io: CliIo,
  run: (session: Session, options: Options, values: readonly string[]) => Promise<void>,
) {
  return async (...passed: readonly unknown[]): Promise<void> => {
    const command = passed.at(-1) as Command
    await withSession(io, command, session => run(session, command.opts<Options & object>(), command.args))
  }
}

/** The action of a command that needs nothing but files: no API, no token, no network. */
export function actOffline<Options>(
  io: CliIo,
  run: (printer: Printer, options: Options, values: readonly string[]) => Promise<void>,
) {
  return async (...passed: readonly unknown[]): Promise<void> => {
    const command = passed.at(-1) as Command
    await run(printerFor(io, command), command.opts<Options & object>(), command.args)
  }
}
