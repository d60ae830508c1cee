import { BaseError } from '../base/base-errors.ts'
import { errorKinds, printable } from '../base/errors.ts'
import { helpOf } from '../usage/help.ts'
import type { Usage } from '../usage/usage.ts'

/**
 * The command that a role's process was given; `null`: none, and it serves. Answers --help by itself and ends, and so it does,
 * with the status of a wrong usage, where a command is missing. Throws `FIELD_INVALID` for one that there is not.
 */
export function roleCommand<Command extends string>(
  usage: Usage<Command>,
  wantsHelp: boolean | undefined,
  [given]: readonly string[],
): Command | null {
  if (wantsHelp) {
    process.stdout.write(helpOf(usage))
    process.exit(0)
  }
  const commands = Object.keys(usage.commands) as Command[]
  const command = commands.find(one => one === given)
  if (command !== undefined) return command
  if (given !== undefined)
    throw new BaseError('FIELD_INVALID', `there is no command '${printable(given)}' of ${usage.name}`, {
      hint: `see strongroom ${usage.name} --help`,
    })
  if (usage.serves !== null) return null
  process.stderr.write(helpOf(usage))
  process.exit(errorKinds.usage.exit)
}
