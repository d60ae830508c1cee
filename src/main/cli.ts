import './failure.ts'
import { systemClock } from '../base/environment.ts'
import { processIo } from '../cli/io.ts'
import { runCli } from '../cli/program.ts'

/* The command line: a thin client of the management VM's API. */

process.exitCode = await runCli(process.argv.slice(2), processIo(process, systemClock))
