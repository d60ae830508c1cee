import { Command, CommanderError } from 'commander'
import { errorKinds } from '../base/errors.ts'
import { productVersion } from '../base/version.ts'
import { allUsages } from '../usage/all.ts'
import { addAttest } from './commands/attest.ts'
import { addCancel } from './commands/cancel.ts'
import { addCheck } from './commands/check.ts'
import { addCompletions } from './commands/completions.ts'
import { addDrill } from './commands/drill.ts'
import { addHold } from './commands/hold.ts'
import { addJobs } from './commands/jobs.ts'
import { addLedger } from './commands/ledger.ts'
import { addOrder } from './commands/order.ts'
import { addPrune } from './commands/prune.ts'
import { addRestore } from './commands/restore.ts'
import { addSchedule } from './commands/schedule.ts'
import { addSnapshots } from './commands/snapshots.ts'
import { addStatus } from './commands/status.ts'
import { CliError } from './errors.ts'
import type { CliIo } from './io.ts'
import { reportFailure } from './session.ts'

const allCommands = [
  addOrder,
  addStatus,
  addJobs,
  addCancel,
  addSnapshots,
  addRestore,
  addCheck,
  addDrill,
  addPrune,
  addHold,
  addSchedule,
  addLedger,
  addAttest,
  addCompletions,
]

/** `argv` without node and script. Answers the exit code; nothing is thrown. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  const json = argv.includes('--json')
  const program = buildProgram(io, json)
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return 0
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(io, error, json)
    // --help, --version: commander has printed what was asked for.
    if (error.exitCode === 0) return 0
    const isUnfinished = error.code === 'commander.help'
    // A group without its command: the help that commander has printed says all there is to say.
    if (isUnfinished && !json) return errorKinds.usage.exit
    const message = error.message.replace(/^error: /, '').replace(/\n/g, ' ')
    return reportFailure(io, new CliError('CLI_USAGE', isUnfinished ? 'a command is needed' : message), json)
  }
}

function buildProgram(io: CliIo, json: boolean): Command {
  const program = new Command('strongroom')
    .description('Encrypted VM backups that the person who orders them cannot read.')
    .option('--api <address>', 'unix:/path, http://127.0.0.1:PORT or https://HOST (or STRONGROOM_API)')
    .option('--token-file <file>', 'file with the API’s token (or STRONGROOM_TOKEN_FILE)')
    .option('--json', 'print results as JSON, one object a line')
    .option('--quiet', 'print results and errors only')
    // One way to ask for help: --help.
    .helpCommand(false)
    .version(productVersion(), '--version', 'print the version')
    .addHelpText('after', more)
  for (const add of allCommands) add(program, io)
  for (const command of withDescendants(program)) {
    command
      .exitOverride()
      .configureHelp({ showGlobalOptions: true })
      .configureOutput({
        writeOut: text => io.stdout.write(text),
        // For people: with --json there are objects only.
        writeErr: text => {
          if (!json) io.stderr.write(text)
        },
        // Reported once, by `runCli`, in the form of all other errors.
        outputError: () => {},
      })
  }
  return program
}

function withDescendants(command: Command): readonly Command[] {
  return [command, ...command.commands.flatMap(withDescendants)]
}

const roleWidth = Math.max(...allUsages.map(({ name }) => name.length))
const roles = `Other parts of this program, each in the VM it belongs to:
${allUsages.map(({ name, summary }) => `  strongroom ${name.padEnd(roleWidth)} --help  ${summary}\n`).join('')}`
const more = `
${roles}
Exit codes:
  0 done  1 failed  2 usage  4 integrity alarm  5 refused  10 missing  11 conflict  12 wrong key
  13 unreachable  14 no room  15 no answer in time  130 cancelled or detached

Examples:
  $ strongroom order nightly --wait
  $ strongroom status
`
